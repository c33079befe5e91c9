"""The schemas of `--json`: each command has one, they allow nothing that is not named, and outputs follow them.

Every output that a test makes with `said` is compared with its schema there (`tests/output_schemas.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hf_folders import CASES, write_folder
from jsonschema import Draft202012Validator
from output_schemas import FOLDER, check, prints_json, validate
from test_help_texts import commands, options

Said = Callable[..., tuple[int, str, str]]
OTHERS = {"error", "record", "bench"}  # of failures, of a file, and of a command whose option is -o
NAMES = {path.name.removesuffix(".schema.json") for path in FOLDER.iterdir()}


def test_each_command_with_json_has_a_schema() -> None:
    assert {words[0] for words in commands() if words and "--json" in options(words)} == NAMES - OTHERS


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for part in schema.values():
            yield from objects(part)
    for part in schema if isinstance(schema, list) else ():
        yield from objects(part)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_schemas_are_closed(name: str) -> None:
    """A new field is added to its schema; only messages of chats, which are OpenAI's, may have more."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    open_ones = [part["required"] for part in objects(schema) if part.get("additionalProperties") is not False]
    assert open_ones == ([["role"]] if name == "sessions" else [])


def test_wrong_outputs_are_found() -> None:
    good = {"schema": 1, "model": "m", "count": 1, "tokens": [{"id": 1, "text": "a", "bytes": "61"}]}
    validate("tokenize", good)
    for wrong in ({**good, "more": 1}, {**good, "count": "1"}, {**good, "schema": 2}, {"schema": 1, "model": "m"}):
        with pytest.raises(AssertionError, match=re.escape("docs/schemas/tokenize.schema.json")):
            validate("tokenize", wrong)
    with pytest.raises(AssertionError, match="bytes"):
        check("tokenize", json.dumps({**good, "tokens": [{"id": 1, "text": "a", "bytes": "6"}]}))
    assert prints_json(["run", "m", "--json"]) and not prints_json(["run", "m", "--", "--json"])


def test_outputs_that_no_other_test_makes(said: Said, story: Path, tmp_path: Path) -> None:
    """`said` compares them with their schemas."""
    folder = write_folder(tmp_path / "folder", CASES["llama-linear"])
    for words in (
        ["list", "--available", "--json"],
        ["convert", folder, tmp_path / "new.gguf", "--json", "-q"],
        ["show", folder, "--json"],
        ["show", folder, "general.architecture", "--json"],
        ["bench", story, "-p", "4", "-n", "2", "-a", "2", "-r", "1", "-o", "json"],
        ["bench", story, "-p", "4", "-n", "0", "-r", "1", "-o", "jsonl"],
        ["gguf", "diff", story, story, "--json"],
        ["sessions", "ls", "--json"],
    ):
        code, out, _ = said(*words)
        assert code == 0 and json.loads(out.splitlines()[0] if "jsonl" in words else out)["schema"] == 1, words
    code, out, _ = said("run", tmp_path / "none", "x", "--json", "--no-stdin")
    assert code == 3 and json.loads(out)["error"]["exit_code"] == 3
