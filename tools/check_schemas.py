"""Check schemas of public suites: each is refused by name, or only valid answers are possible.

    python tools/check_schemas.py FOLDER [--most 500] [--model model.gguf]

FOLDER has JSON files as JSON-Schema-Test-Suite (a folder of one draft) or JSONSchemaBench's maskbench/data have them:
groups or objects of a `schema` and `tests`. Every instance is read by the mask; with --model the model answers, too, as
often as --most says, with seeds that differ. Exit code 1 where an invalid instance or answer was let through.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from random import Random
from typing import Any

from jsonschema.validators import validator_for

from llmlocal import IncompleteError, UsageError, load
from llmlocal.constraints.grammar import Grammar, of_schema

DRAFTS = {
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}


def cases(folder: Path, most: int | None = None) -> list[tuple[str, Any, list[dict[str, Any]]]]:
    """Schemas by name with their tests, `most` of them chosen at random, the same ones every time."""
    paths = sorted(folder.glob("*.json"))
    Random(0).shuffle(paths)
    return [case for path in paths[:most] for case in _of_file(path, DRAFTS.get(folder.name))][:most]


def _of_file(path: Path, draft: str | None) -> Iterator[tuple[str, Any, list[dict[str, Any]]]]:
    groups = json.loads(path.read_text())
    for group in groups if isinstance(groups, list) else [groups]:
        schema = group["schema"]
        if isinstance(schema, dict) and draft:
            schema = {"$schema": draft, **schema}
        yield f"{path.stem}: {group.get('description', '')}", schema, group["tests"]


def followed(schema: Any, counts: Counter[str]) -> Grammar | None:
    """The form of a schema, None where it is refused."""
    try:
        grammar = of_schema(schema)
    except UsageError:
        counts["schemas refused"] += 1
        return None
    counts["schemas followed"] += 1
    return grammar


def wrong_instances(grammar: Grammar, tests: list[dict[str, Any]], counts: Counter[str]) -> list[Any]:
    """The instances that the mask lets through although the suite calls them invalid."""
    wrong = []
    for test in tests:
        accepted = grammar.matches(json.dumps(test["data"], ensure_ascii=False))
        counts[f"{'valid' if test['valid'] else 'invalid'} instances {'accepted' if accepted else 'not accepted'}"] += 1
        if accepted and not test["valid"]:
            wrong.append(test["data"])
    return wrong


def judged(schema: Any, text: str) -> str:
    """What jsonschema says of an answer.

    It reads patterns by Python's `re`, which lacks \\p{...}; numbers such as 1e-99999999999999999 are beyond `decimal`.
    """
    exact = json.loads(json.dumps(schema), parse_float=Decimal)  # 2099.6155 is a multiple of 0.0001, but not in binary
    try:
        valid = validator_for(schema)(exact).is_valid(json.loads(text, parse_float=Decimal))
        return "valid" if valid else "invalid"
    except (re.error, InvalidOperation):
        return "not judged"


def main() -> int:
    """Print the counts and every fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    counts, faults = Counter[str](), list[str]()
    model = load(options.model, ctx=1024) if options.model else None
    for i, (name, schema, tests) in enumerate(cases(options.folder, options.most)):
        grammar = followed(schema, counts)
        if grammar is None:
            continue
        faults += [f"{name}: {json.dumps(wrong)}" for wrong in wrong_instances(grammar, tests, counts)]
        if model is None:
            continue
        try:
            text = model.generate("An example:", schema=schema, max_tokens=200, temperature=1, seed=i).text
        except IncompleteError:
            counts["answers cut short"] += 1
            continue
        verdict = judged(schema, text)
        counts[f"answers {verdict}"] += 1
        faults += [f"{name}: answered {text}"] if verdict == "invalid" else []
    for what in sorted(counts):
        print(f"{counts[what]:6} {what}")
    print(*faults, sep="\n", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
