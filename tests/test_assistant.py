"""Assistants of Gemma 4: what they compute, what they propose, and the files that are none for a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import CONTEXT, answered
from assisted import CASES, LENGTHS, STEPS, assistant_golden, assistant_settings
from families import IDS, write_weights
from families.converted import BOUND, EXACT, write_converted, write_tokenizer
from naive import nmse
from test_speculation import GREEDY, prompts

from llmlocal.draft.mtp_draft import MtpDraft
from llmlocal.engine import Engine
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.gguf import open_gguf
from llmlocal.quantize.convert import convert_model


def write_assistant(case: str, folder: Path, **how: Any) -> None:
    """The folder of the assistant of a model."""
    (folder / "config.json").write_text(json.dumps(assistant_settings(case, **how)))
    write_weights(folder, f"{case}-assistant", assistant_golden(case)[0])
    write_tokenizer(folder)


def convert_assisted(case: str, folder: Path) -> tuple[Path, Path]:
    """A model and its assistant, converted."""
    model, assistant = folder / "model", folder / "assistant"
    for each in (model, assistant):
        each.mkdir()
    write_assistant(case, assistant)
    return write_converted(case, model), convert_model(assistant, folder / "assistant.gguf", "F32").path


@pytest.fixture(scope="module", params=CASES)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    return request.param, *convert_assisted(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def engine(files: tuple[str, Path, Path]) -> Iterator[Engine]:
    with open_gguf(files[2]) as assistant:
        engine = Engine.open(files[1], n_ctx=48, n_threads=2, n_seqs=2, kv_type=EXACT, assistant=assistant)
        yield engine
        engine.close()


def test_logits_and_states_are_those_of_transformers(files: tuple[str, Path, Path], engine: Engine) -> None:
    """Each sequence continues a text of its own, in one run."""
    predictor, (_, logits, states) = engine.predictor, assistant_golden(files[0])
    assert predictor is not None
    for text, length in enumerate(LENGTHS):
        engine.adopt((), 0)
        engine.prefill(IDS[: length - 1])
        state, id = predictor.states[0, length - 2], IDS[length - 1]
        for step in range(STEPS):
            got, state = predictor.predict([id], state[None], length - 2)
            id = int(got.argmax())
            assert nmse(got, logits[text, step]) <= BOUND and nmse(state, states[text, step]) <= BOUND
            assert id == logits[text, step].argmax()
