"""What `--json` prints is what docs/schemas says: checked wherever a test runs a command with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
BENCH = ("json", "jsonl")  # formats of bench, which has no --json


@cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / f"{name}.schema.json").read_text()))


def prints_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON on stdout."""
    if arguments[:1] == ["bench"]:
        return any(word in BENCH for word in arguments)
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def check(command: str, text: str) -> None:
    """Raises what the validator raises, for an object that a command printed, or for each line of several."""
    try:
        records = [json.loads(text)]
    except json.JSONDecodeError:
        records = [json.loads(line) for line in text.splitlines()]
    for record in records:
        validate(command, record)


def validate(command: str, record: dict[str, Any]) -> None:
    """Raises what the validator raises."""
    name = "error" if isinstance(record.get("error"), dict) else command  # that of perplexity is a number
    errors = sorted(validator(name).iter_errors(record), key=lambda error: error.path)
    assert not errors, f"docs/schemas/{name}.schema.json: {[_deepest(error) for error in errors]}"


def _deepest(error: Any) -> str:
    """Of the variants that an object may be, what is wrong with the nearest."""
    while error.context:
        error = max(error.context, key=lambda inner: len(inner.absolute_path))
    return f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
