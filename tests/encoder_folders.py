"""Folders of the tiny encoders of `encoder_cases`, and the models that are made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from encoder_cases import golden, settings
from families import write_weights
from families.converted import write_tokenizer

from llmlocal.quantize.convert import convert_model


def write_folder(case: str, folder: Path, more: Mapping[str, Any] = {}) -> None:
    """The case's settings with `more`, its weights and tokenizer."""
    (folder / "config.json").write_text(json.dumps(settings(case) | more))
    write_weights(folder, case, golden(case)[0])
    write_tokenizer(folder)


def models_of(cases: Sequence[Any]) -> Any:
    """A fixture: each case and its model."""

    @pytest.fixture(scope="module", params=cases)
    def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
        folder = tmp_path_factory.mktemp(request.param)
        write_folder(request.param, folder)
        return request.param, convert_model(folder, folder / "m.gguf", "F32").path

    return model
