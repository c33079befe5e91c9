"""Regular expressions and grammars: which texts they allow, and how mistakes in them are told."""

from __future__ import annotations

from typing import Any

import pytest

from llmlocal.constraints.grammar import of_grammar, of_regex, of_schema
from llmlocal.errors import UsageError


@pytest.mark.parametrize(
    ("regex", "yes", "no"),
    [
        ("a|bc", ["a", "bc"], ["", "b", "abc"]),
        (r"\d{2}", ["12"], ["1", "123", "a1"]),
        ("^x$", ["x"], ["xx"]),
        ("(?s:.)", ["\n", "é", "𝄞"], ["ab"]),
        (" x", [" x"], ["x"]),
    ],
)
def test_regular_expressions(regex: str, yes: list[str], no: list[str]) -> None:
    grammar = of_regex(regex)
    assert all(map(grammar.matches, yes)) and not any(map(grammar.matches, no))


@pytest.mark.parametrize(
    ("regex", "told"),
    [("[a", "unclosed character class"), ("(?=a)", "look-around"), ("", "is empty"), ("a\0", "not valid UTF-8")],
)
def test_mistakes_in_regular_expressions(regex: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        of_regex(regex)
    assert "line 1" not in str(caught.value)


JSON = r"""# JSON, as in the notation's own examples
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws ( value ("," ws value)* )? "]" ws

string ::= "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
CHESS = r"""
root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
"""
ARITHMETIC = r"""
root ::= (expr "=" ws term "\n")+
expr ::= term ([-+*/] term)*
term ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num ::= [0-9]+ ws
ws ::= [ \t\n]*
"""


@pytest.mark.parametrize(
    ("grammar", "yes", "no"),
    [
        (JSON, ['{"a": 1}', '{"a": [1.5e+3,\n "x\\n", {}]}\n'], ['{"a": }', "[]", "{'a': 1}"]),
        (CHESS, ["1. e4 e5\n2. Nf3 Nc6\n", "1. e4 e5\n2. O-O exd8=Q+\n"], ["1. e4\n", "1. e9 e5\n2. a1 a1\n"]),
        (ARITHMETIC, ["a +1= 2\n", "(x_1*(3))=y\n\nz=1\n"], ["1 = \n", "A=1\n"]),
        ('root ::= [a-z]* "b"', ["b", "ab", "abb"], ["a", ""]),  # a greedy [a-z]* would swallow the b
        ('root ::= ("ab" | "a") "c"? "bc"', ["abbc", "abc", "acbc"], ["ab"]),
        ("root ::= .{2}", ["\n\n", "é𝄞"], ["a", "abc"]),
        (r'root ::= "\u00e9" | [\U0001D11E] | "\x41\"\\"', ["é", "𝄞", 'A"\\'], ["e"]),
        ('root ::= a-b a_b\na-b ::= "1"\na_b ::= "2"', ["12"], ["1"]),
        ("root ::= [^a-yA-Z\\]]", ["z", "é"], ["a", "]"]),
        ("root ::= [a-]+[\\]]?", ["a-]", "a"], ["]"]),
        ('root ::= "a"\n  | "b" # or\n  | "c"', ["a", "b", "c"], ["ab"]),
        ('root ::= expr\nexpr ::= expr "+" [0-9] | [0-9]', ["1+2+3"], ["1+"]),
        ('root ::= "a"{2} "b"{1,} "c"{0,2} "d"?', ["aabbb", "aabccd"], ["ab", "aabccc"]),
        ("root ::= [^\\x00-\\x1F]", ["\ufffd"], ["\x01"]),
        ('root ::= "" | "x"', ["", "x"], ["xx"]),
        ('start: "a" B\nB: /[0-9]+/', ["a12"], ["a"]),
        ('%llguidance {}\nstart: /x+/ | other\nother: "y"', ["xx", "y"], ["xy"]),
    ],
)
def test_grammars(grammar: str, yes: list[str], no: list[str]) -> None:
    found = of_grammar(grammar)
    assert [text for text in yes if not found.matches(text)] == []
    assert [text for text in no if found.matches(text)] == []


@pytest.mark.parametrize(
    ("grammar", "told"),
    [
        ('root ::= "a" b', "line 1, column 14: there is no rule b"),
        ('root ::= "a', "column 12: the grammar ends within quotes"),
        ("root ::= [a", "ends within quotes or brackets"),
        ('r ::= "a"', "there is no rule root"),
        ('root ::= "a"\nroot ::= "b"', "line 2, column 1: the rule root is there twice"),
        ("root ::= [z-a]", "whose end lies before"),
        ("root ::= []", "a class of no character"),
        ('root ::= ("a"', r"expected \)"),
        ("root ::= " + "(" * 5000, "within each other"),
        ('root ::= "\\q"', "unknown escape"),
        ('root ::= "\\ud800"', "is not a character"),
        ('root ::= "a"{3,2}', "the smaller one first"),
        ('root ::= "a"{x}', "expected {n}"),
        ('root ::= "a"{' + "9" * 5000 + "}", "expected {n}"),
        ('root ::= "a" ) "b"', "unexpected"),
        ("root ::= <think>", "tokens by name"),
        ('root ::= root "a"', "no text has this form"),
        ('start: "a" b', "line 1, column 8: unknown name"),
        ("start: /[/", "unclosed character class"),
        ("hello", "Expected token"),
        ("", "is empty"),
        ('root ::= "' + "a" * 70_000 + '"', "70011 characters: 65536 at most"),
    ],
)
def test_mistakes_in_grammars(grammar: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        of_grammar(grammar)
    assert "\n" not in str(caught.value)


def test_rules_within_rules_do_not_end_the_process() -> None:
    """A stack of 8 MiB, as usual, holds some 2000 rules of a grammar, and some 700 references of a schema."""
    rules = "".join(f"a{i}: a{i + 1}\n" for i in range(4000))
    assert of_grammar(f"start: a0\n{rules}a4000: /x/").matches("x")
    schemas: dict[str, Any] = {f"{i}": {"items": {"$ref": f"#/$defs/{i + 1}"}} for i in range(1400)}
    assert of_schema({"$ref": "#/$defs/0", "$defs": {**schemas, "1400": {"type": "null"}}}).matches("[[[]]]")


@pytest.mark.parametrize(
    "text", ["start: /a+/ /a/", "start: /a+/ A\nA: /a+/  # more", '%llguidance {"no_forcing": false}\nstart: /a+/ "a"']
)
def test_a_lexeme_that_never_ends_is_not_followed_forever(text: str) -> None:
    """The first lexeme takes each a: what must follow has no end, and a check of it would have none."""
    grammar = of_grammar(text)
    assert not grammar.matches("aaaa") and not grammar.matches("ab")


def test_grammars_in_lark() -> None:
    grammar = of_grammar('%llguidance {}\nstart: A "," B  # two words\nA: /a+/\nB: /b+/')
    assert grammar.matches("aa,b") and not grammar.matches("aa,") and not grammar.matches("b,a")
    with pytest.raises(UsageError, match=r"the grammar: line 1, column 10: lexer error"):
        of_grammar('start: "a')
