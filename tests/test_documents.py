"""The documents agree with the repository: links lead somewhere, files and folders exist, commands can be typed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_lines import parsed, typed
from test_imports import ROOMS

from llmlocal.cli.config.declared import settings

ROOT = Path(__file__).parents[1]
FOLDERS = ("llmlocal", "quant", "cli", "tests", "docs", "tools", ".ci")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
NAMES = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*")} | {
    path.name for path in ROOT.iterdir()
}
BASES = (ROOT, ROOT / "llmlocal")  # a path is written from the root, from llmlocal/, or from its document

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PATH = re.compile(r"[\w.*-]+(/[\w.*-]+)*/?")
SOURCE = (".py", ".md", ".toml", ".sh", ".jinja", ".npz", ".json.xz")
USERS = ("config.toml", "template.jinja", "adapter_config.json")  # files that users have, not we
documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def prose(text: str) -> str:
    """A document without its code blocks."""
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """The names under which a document's headings can be linked to, as GitHub makes them."""
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(text)))
    return {heading.strip().replace(" ", "-") for heading in headings}


def dead_links(document: Path, text: str) -> Iterator[str]:
    for link in LINK.findall(prose(text)):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if "://" in link:
            continue
        if not target.exists() or ROOT not in target.resolve().parents:
            yield f"{link}: no such file"
        elif anchor and anchor not in anchors(text if not path else target.read_text()):
            yield f"{link}: no such heading"


def missing_paths(document: Path, text: str) -> Iterator[str]:
    """What stands in backticks, looks like a file or folder of ours, and is not there."""
    for span in SPAN.findall(prose(text)):
        if not PATH.fullmatch(span) or span in USERS:
            continue
        first, _, rest = span.partition("/")
        if rest and (first in FOLDERS or any((base / first).is_dir() for base in (*BASES, document.parent))):
            bases = (*BASES, document.parent)
            if not any([*base.glob(span.rstrip("/")), *base.glob(span.rstrip("/") + ".py")] for base in bases):
                yield f"{span}: no such file or folder"
        elif not rest and "*" not in span and span.endswith(SOURCE) and span not in NAMES:
            yield f"{span}: no file of this name"


def wrong_commands(text: str) -> Iterator[str]:
    """Commands of shell blocks, of lines after `$` in recordings, and of code within the text."""
    lines = [span for span in SPAN.findall(prose(text)) if span.startswith("llmlocal ")]
    for language, block in FENCE.findall(text):
        joined = block.replace("\\\n", " ").splitlines()
        if language in ("sh", "bash"):
            lines += joined
        elif language == "console":
            lines += [line.removeprefix("$ ") for line in joined if line.startswith("$ ")]
    for line in lines:
        for words in typed(line):
            try:
                parsed(words)
            except AssertionError as error:
                yield str(error)


@documents
def test_links_lead_somewhere(document: Path) -> None:
    assert not [*dead_links(document, document.read_text())]


@documents
def test_files_that_are_named_exist(document: Path) -> None:
    assert not [*missing_paths(document, document.read_text())]


@documents
def test_commands_can_be_typed(document: Path) -> None:
    assert not [*wrong_commands(document.read_text())]


def test_every_document_is_linked_from_another() -> None:
    """From the README on, following links."""
    seen, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        document = todo.pop()
        if document in seen or document.suffix != ".md" or not document.exists():
            continue
        seen.add(document)
        links = (link.partition("#")[0] for link in LINK.findall(prose(document.read_text())) if "://" not in link)
        todo += [(document.parent / link).resolve() for link in links if link]
    assert not [path.relative_to(ROOT).as_posix() for path in DOCUMENTS if path not in seen]


def test_checks_find_what_is_wrong() -> None:
    here = ROOT / "docs" / "architecture.md"
    assert [*dead_links(here, "[a](nowhere.md) [b](../README.md#no-such-heading) [c](../../..) [d](#e)")] == [
        "nowhere.md: no such file",
        "../README.md#no-such-heading: no such heading",
        "../../..: no such file",
        "#e: no such heading",
    ]
    assert not [*dead_links(here, "# A b: c\n[a](../README.md) [b](https://example.org/x) [c](#a-b-c)")]
    wrong = "`quant/nothing.py` `nothing.py` `ops/nothing` `docs/*.nothing`"
    assert len([*missing_paths(here, wrong)]) == 4
    assert not [*missing_paths(here, "`quant/jit` `quant/jit/cache` `ops/rope.py` `llama.py` `docs/*.md` `a/b` `x.y`")]
    assert len([*wrong_commands("```sh\nllmlocal fly  # away\nA=1 llmlocal run m.gguf hi --nothing | cat\n```")]) == 2
    assert len([*wrong_commands("```console\n$ llmlocal fly\nllmlocal fly\n```\nand `llmlocal list --nothing`")]) == 2
    assert not [*wrong_commands("```sh\ncat x | llmlocal run m.gguf hi -n 3 > y; llmlocal list --json\n```")]


# ---- docs/architecture.md ------------------------------------------------------------------------------------------

ARCHITECTURE = ROOT / "docs" / "architecture.md"


def test_the_map_names_every_folder() -> None:
    rows = re.findall(r"^\| `([\w/]+)/` \|", ARCHITECTURE.read_text(), re.MULTILINE)
    folders = {
        path.parent.relative_to(ROOT).as_posix()
        for package in ("llmlocal", "cli", "quant")
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert sorted(rows) == sorted(folders)


def test_the_order_of_imports_is_the_one_that_is_guarded() -> None:
    blocks = [block.strip().splitlines() for _, block in FENCE.findall(ARCHITECTURE.read_text())]
    assert ROOMS in blocks, "copy ROOMS of tests/test_imports.py into docs/architecture.md"


# ---- the environment -----------------------------------------------------------------------------------------------


def test_variables_of_the_environment_are_read_somewhere() -> None:
    """A document names no variable `LLMLOCAL_...` that neither the program nor the tests read."""
    folders = (*(ROOT / folder for folder in ("llmlocal", "quant", "cli", "tests", "tools")),)
    this = Path(sys.modules[__name__].__file__ or "")
    code = "".join(path.read_text() for folder in folders for path in folder.rglob("*.py") if path != this)
    named = {name for path in DOCUMENTS for name in re.findall(r"LLMLOCAL_[A-Z]\w*", path.read_text())}
    own = {setting.variable for setting in settings().values()}
    assert not {name for name in named - own if name not in code}
