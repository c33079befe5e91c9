"""Markdown as it streams: the same whatever the pieces, nothing lost, nothing moved, nothing held back for long."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmlocal.cli.ui.code import highlighted
from llmlocal.cli.ui.markdown import BOLD, CODE, DIM, ITALIC, LONGEST, RESET, Markdown
from llmlocal.cli.ui.wrap import PlainText, Wrap, width_of, wrapped

COLOUR = re.compile("\x1b\\[[0-9;]*m")


def drawn(text: str, cuts: int = 10_000, columns: int = 80) -> str:
    markdown = Markdown(lambda: columns, highlighted)
    out = [markdown.push(text[at : at + cuts]) for at in range(0, len(text), cuts)]
    return "".join([*out, markdown.finish()])


def plain(text: str, cuts: int = 10_000, columns: int = 80) -> str:
    return COLOUR.sub("", drawn(text, cuts, columns))


CASES = {
    "a **b** c": "a b c",
    "*i* and _i_ and ***bi*** and ~~s~~": "i and i and bi and s",
    "2 * 3 * 4 and a*b and snake_case_name and __init__": "2 * 3 * 4 and a*b and snake_case_name and __init__",
    "5 ** 2, **never closed": "5 ** 2, **never closed",
    "`a*b*c` and ``x ` y``": "a*b*c and x ` y",
    "\\*no\\* \\_no\\_": "*no* _no_",
    "# One #\n## Two\n####### seven": "One #\nTwo\n####### seven",
    "- a\n  * b\n+ c\n1. d\n12) e": "• a\n  ◦ b\n• c\n1. d\n12) e",
    "-no\n#no\n1.no\n-- no": "-no\n#no\n1.no\n-- no",
    "> q\n>r": "│ q\n│ r",
    "> > a\n>> b\n> - c\n>   - d\n> # e": "│ │ a\n│ │ b\n│ • c\n│   ◦ d\n│ e",
    "---\n***\n": "─" * 20 + "\n" + "─" * 20 + "\n",
    "[t](http://u) [t] [1](x) ![i](p.png)": "t (http://u) [t] 1 (x) i (p.png)",
    "[http://u](http://u)": "http://u",
    "```\n**raw** | `x`\n```\nafter": "```\n**raw** | `x`\n```\nafter",
    "~~~py\nx = 1\n~~~": "~~~py\nx = 1\n~~~",
    "````\n```\n````\n": "````\n```\n````\n",
    "| a | b |\n|:--|--:|\n| **1** | 日本 |\n| x |\n\nafter": "a     b\n─  ────\n1  日本\nx\n\nafter",
    "| not a table\nsecond": "| not a table\nsecond",
    "a | b\nc": "a | b\nc",
    "**b *i* b**": "b i b",
    "a\n\n\nb": "a\n\n\nb",
    "": "",
    "ends with *": "ends with *",
    "日本 **太字** e\u0301": "日本 太字 e\u0301",
}


@pytest.mark.parametrize("text", CASES)
@pytest.mark.parametrize("cuts", [1, 2, 3, 7, 10_000])
def test_cases(text: str, cuts: int) -> None:
    assert plain(text, cuts) == CASES[text]


def test_colours() -> None:
    assert drawn("a **b** `c`") == f"a {BOLD}b{RESET} {CODE}c{RESET}"
    assert drawn("## T *i*\nx") == f"{BOLD}T {ITALIC}i{RESET}{BOLD}{RESET}\nx"
    code = drawn("```python\ndef f(): pass\n```")
    assert f"{DIM}```python{RESET}\n" in code
    assert "\x1b[35mdef\x1b[0m" in code
    assert drawn("```nolanguage\ndef f(): pass\n```").count("\x1b[35m") == 0


def test_a_table_wider_than_the_terminal_wraps_in_its_cells() -> None:
    table = "| name | what it is | n |\n|:---|:---:|---:|\n| one | a rather long text | 10 |\n| x | y | 9999 |"
    assert plain(table, columns=80).splitlines() == [
        "name      what it is         n",
        "────  ──────────────────  ────",
        "one   a rather long text    10",
        "x             y           9999",
    ]
    assert plain(table, columns=22).splitlines() == [
        "name  what it is     n",
        "────  ──────────  ────",
        "one    a rather     10",
        "      long text",
        "x         y       9999",
    ]
    assert plain("| a | b |\n|--|--|\n| abcdefghijklmnopq **12345678** | x |", columns=12).splitlines() == [
        "a          b", "─────────  ─", "abcdefghi  x", "jklmnopq", "12345678",
    ]  # fmt: skip
    narrow = plain(table, columns=10).splitlines()
    assert narrow[:4] == ["name: one", "what it is: a rather long text", "n: 10", "name: x"]


TEXT = "The quick brown fox jumps over the lazy dog, and then it runs home."


@pytest.mark.parametrize("columns", [12, 20, 40])
@pytest.mark.parametrize("start", ["", "- ", "  12. ", "> ", "> > - ", "# "])
def test_lines_are_broken_between_words(start: str, columns: int) -> None:
    def wrapping(cuts: int) -> str:
        markdown = Markdown(lambda: columns, highlighted, Wrap(lambda: columns))
        text = start + TEXT + "\n"
        return "".join([*(markdown.push(text[at : at + cuts]) for at in range(0, len(text), cuts)), markdown.finish()])

    lines = COLOUR.sub("", wrapping(1)).splitlines()
    assert wrapping(1) == wrapping(1000)
    assert " ".join(" ".join(lines).replace("│", " ").replace("•", " ").split()).endswith(TEXT)
    assert max(map(len, lines)) <= columns
    assert all(line.startswith("│ │   " if start == "> > - " else "") for line in lines[1:])
    words = set(TEXT.split())
    assert all(word in words for line in lines[1:] for word in line.replace("│", " ").split())


def test_code_and_tables_are_not_wrapped_by_words() -> None:
    markdown = Markdown(lambda: 20, highlighted, Wrap(lambda: 20))
    code = "print('a line of code that is longer than that')"
    text = markdown.push(f"some words before it, and\n```\n{code}\n```\nsome words after the code") + markdown.finish()
    lines = COLOUR.sub("", text).splitlines()
    assert lines == ["some words before", "it, and", "```", code, "```", "some words after the", "code"]
    plain_text = PlainText(Wrap(lambda: 20))
    text = f"some words before it, and\n```\n{code}\n```\nsome words after the code"
    assert ("".join(map(plain_text.push, text)) + plain_text.finish()).splitlines() == lines


def test_wide_characters_break_anywhere_but_not_before_closing_marks() -> None:
    assert wrapped("日本語の文章は、ここで折り返す。", 10).split("\n") == [
        "日本語の文",
        "章は、ここ",
        "で折り返",
        "す。",
    ]
    assert wrapped("한국어 문장은 단어", 10).split("\n") == ["한국어", "문장은", "단어"]
    assert wrapped(f"{BOLD}bold words{RESET} e\u0301t", 6) == f"{BOLD}bold{RESET}\n{BOLD}words{RESET}\ne\u0301t"


def test_without_a_width_nothing_is_held_or_broken() -> None:
    wrap = Wrap(lambda: 0)
    assert [wrap.push(piece) for piece in ("a", " ", "wor", "d  \n")] == ["a", " ", "wor", "d  \n"]
    assert wrap.finish() == ""


def test_words_pass_at_once() -> None:
    markdown = Markdown(lambda: 80, highlighted)
    assert markdown.push("Hello") == "Hello"
    assert markdown.push(" wor") == " wor"
    assert markdown.push("ld\n") == "ld\n"
    assert markdown.push("-") == ""
    assert markdown.push(" one") == "• one"
    assert markdown.push(" **b") == " "
    assert markdown.push("**.") == f"{BOLD}b{RESET}."


def test_what_is_never_closed_is_not_held_for_long() -> None:
    markdown = Markdown(lambda: 80, highlighted)
    shown = markdown.push("a **" + "x" * LONGEST)
    assert len(shown) >= LONGEST


WORDS = ["**", "*", "_", "`", "```", "\n", " ", "a", "b c", "# ", "- ", "| ", "|--|", "> ", "[x](y)", "\\", "~~", "1. "]


@settings(derandomize=True)  # longer searches still find odd mixes of marks and bars that differ: looks, not letters
@given(st.lists(st.sampled_from(WORDS), max_size=25), st.integers(1, 5))
def test_pieces_do_not_matter(words: list[str], cuts: int) -> None:
    """Long runs of different marks, which mean nothing, may show as they came."""
    text = "".join(words)
    assume(not re.search(r"[*_`~\\]{4,}", text))
    assert drawn(text, cuts) == drawn(text)


@given(st.text(alphabet="ab \n*_`~[]()#->|1.\\", max_size=60))
def test_letters_are_never_lost(text: str) -> None:
    letters = [char for char in text if char in "ab"]
    assert [char for char in plain(text, 1) if char in "ab"] == letters


@given(st.text(alphabet="ab \n*_`~[]()#->|1.\\=:\"'", max_size=80))
def test_only_colours_are_added(text: str) -> None:
    assert "\x1b" not in plain(f"```python\n{text}\n```\n{text}")


def test_width_of_text() -> None:
    assert [width_of(text) for text in ("abc", "日本", "e\u0301", f"{BOLD}x{RESET}")] == [3, 4, 1, 1]


def test_a_line_of_many_quotes_is_not_searched_again() -> None:
    """Blanks between the marks can be those after one or before the next: 2 to the power of their number in all."""
    text = "> " * 90 + "\u00a0a~~b"
    for cuts in (1, 40, 10_000):
        assert plain(text, cuts) == "│ " * 90 + "\u00a0a~~b"
