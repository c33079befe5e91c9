"""Real weights answer schemas: every GGUF file in the folder LLMLOCAL_REAL_MODELS, more than 50 schemas each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from test_constraints import SCHEMAS

from llmlocal.constraints.concise import schema as concise

Said = Callable[..., tuple[int, str, str]]
FOLDER = os.environ.get("LLMLOCAL_REAL_MODELS")
MODELS = sorted(Path(FOLDER).glob("*.gguf")) if FOLDER else []
QUESTIONS = ("Tell me about Paris.", "Alice is 31, lives in Oslo and plays chess. She paid 12.50 for a book.")
FIELDS = (
    "name, age int, city",
    "title: of the book\nprice float: in euro",
    "name, hobbies [str]",
    "mood good|bad|mixed, why",
    "city, country, capital bool",
    "steps [str]: what to do",
    "year int, month int, day int",
    "a bool, b bool, c bool",
    "ratings [int]",
    "question, answer, sure float",
    "first, last? str, nickname? str",
    "language en|fr|de|no, text",
    "points [float]",
)
BOUNDED = (
    {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 3, "maxItems": 3},
    {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 1, "maxItems": 5},
    {"type": "string", "minLength": 20, "maxLength": 60},
    {"type": "integer", "minimum": 1, "maximum": 100},
    {"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 10},
    {"type": "string", "pattern": "^[A-Z][a-z]{2,8}( [A-Z][a-z]{2,8})?$"},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 3},
)
ALL: list[dict[str, Any]] = [*SCHEMAS, *map(concise, FIELDS), *BOUNDED]


@pytest.mark.slow
@pytest.mark.skipif(not MODELS, reason="LLMLOCAL_REAL_MODELS is a folder with GGUF files of chat models")
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
@pytest.mark.timeout(3600)
def test_answers_of_real_models_have_their_schema(said: Said, model: Path, tmp_path: Path) -> None:
    """Of `batch` all rows, and of `run` the first of some; what is cut short is an error, and never on stdout."""
    rows, valid, short = tmp_path / "rows.jsonl", 0, 0
    rows.write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    for n, schema in enumerate(ALL):
        form, judge = ("--schema", json.dumps(schema)), Draft202012Validator(schema)
        common = ("-n", "200", "--ctx", "512", "--temp", "0.8", "-q", *form)
        code, out, err = said("batch", model, rows, "--seed", str(n), *common)
        results = [json.loads(line) for line in out.split("\n")[:-1]]
        assert code in (0, 9) and len(results) == len(QUESTIONS), err
        for result in results:
            if "error" in result:
                assert result["error"]["exit_code"] == 8
                short += 1
            else:
                judge.validate(result["parsed"])
                valid += 1
        if n % 5:
            continue
        code, out, err = said("run", model, QUESTIONS[0], "--seed", str(n + 1), "--no-stdin", *common)
        assert (code, out) == (8, "") or (code == 0 and judge.is_valid(json.loads(out))), (schema, out, err)
        assert code or out == results[0].get("text", "") + "\n"
    assert len(ALL) > 50 and valid > 4 * short, (len(ALL), valid, short)
