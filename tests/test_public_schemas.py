"""Schemas of public suites, from the folder LLMLOCAL_SCHEMAS: refused, or only valid answers are possible."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_constraints import RandomEngine, said

from llmlocal.constraints.grammar import of_schema
from llmlocal.generation.sampling_params import SamplingParams

sys.path.append(str(Path(__file__).parents[1] / "tools"))
from check_schemas import cases, followed, judged, wrong_instances

FOLDER = os.environ.get("LLMLOCAL_SCHEMAS")


def answered(schema: Any, seed: int, counts: Counter[str]) -> list[str]:
    """The invalid answers of random models, with thinking on and off."""
    wrong = []
    for template, think in ((None, "auto"), ("opened", "on"), ("opened", "off")):
        sampling = SamplingParams(temperature=1, top_k=0, top_p=1, min_p=0, seed=seed)
        text, _, end = said(
            RandomEngine(seed), of_schema(schema), template, think, think_budget=4, max_tokens=300, sampling=sampling
        )
        if not end.valid:
            assert end.reason in ("length", "context")
            counts["answers cut short"] += 1
        else:
            verdict = judged(schema, text)
            counts[f"answers {verdict}"] += 1
            wrong += [text] if verdict == "invalid" else []
    return wrong


@pytest.mark.slow
@pytest.mark.skipif(not FOLDER, reason="LLMLOCAL_SCHEMAS is a folder for tools/check_schemas.py")
def test_schemas_of_a_public_suite_are_refused_or_followed() -> None:
    counts, wrong = Counter[str](), list[Any]()
    for i, (name, schema, tests) in enumerate(cases(Path(FOLDER or ""), 500)):
        if grammar := followed(schema, counts):
            wrong += [(name, data) for data in wrong_instances(grammar, tests, counts)]
            wrong += [(name, text) for text in answered(schema, i, counts)]
    assert not wrong, counts
    assert counts["schemas followed"] >= 100 and counts["answers valid"] >= 100
