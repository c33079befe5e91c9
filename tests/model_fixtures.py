"""Fixtures of small models. What they need is imported when they are asked for: it takes long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from llmlocal import Model


@pytest.fixture
def tale(story: Path) -> Iterator[Model]:
    import llmlocal

    with llmlocal.load(story, threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vector_models import write_model, write_sentence_files

    from llmlocal.quantize.convert import convert_model

    folder = write_model("bert", tmp_path_factory.mktemp("bert"))
    write_sentence_files(folder)
    return convert_model(folder, folder / "bert.gguf", "F32").path


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import json

    from encoder_cases import golden, settings
    from families import write_weights
    from vector_models import write_model

    from llmlocal.quantize.convert import convert_model

    folder = write_model("bert-classifier", tmp_path_factory.mktemp("reranker"))
    (folder / "config.json").write_text(json.dumps(settings("bert-classifier") | {"id2label": {"0": "LABEL_0"}}))
    shapes = golden("bert-classifier")[0]
    one = {name: (1, *shape[1:]) if name.startswith("classifier") else shape for name, shape in shapes.items()}
    write_weights(folder, "bert-classifier", one)
    return convert_model(folder, folder / "reranker.gguf", "F32").path


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vector_models import write_model

    from llmlocal.quantize.convert import convert_model

    folder = write_model("bert-masked", tmp_path_factory.mktemp("masked"))
    return convert_model(folder, folder / "masked.gguf", "F32").path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    from quantized_files import write_small
    from recipe_models import Small

    path = tmp_path / "small-F16.gguf"
    write_small(path, Small("llama", 3, 256, 512, kv=2))
    return path
