"""What an encoder takes of memory: the estimate, and the copy of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from encoder_folders import write_folder

from llmlocal.encoder import Encoder
from llmlocal.gguf import open_gguf
from llmlocal.model_info.describe import describe
from llmlocal.model_info.text_memory import relative_scores, text_memory
from llmlocal.quant.jit.cpu import target
from llmlocal.quant.kernels.matmul import SCRATCH_BYTES
from llmlocal.quant.kernels.matmul_int16 import X86
from llmlocal.quantize.convert import convert_model

SIZES: dict[str, Any] = {"n_ctx": 40, "n_threads": 1, "rows": 128}


@pytest.mark.parametrize(
    ("case", "type", "scores"),
    [
        ("bert", "F32", False),
        ("bert-heads-of-16", "F32", False),
        ("bert", "F16", False),
        ("deberta-v2", "F32", True),
        ("xlnet", "F32", True),
    ],
)
def test_prediction_is_what_an_encoder_takes(case: str, type: str, scores: bool, tmp_path: Path) -> None:
    """Scores by distance, which are larger than all else, among it, and the copy of weights of 8 to 16 bits."""
    write_folder(case, tmp_path)
    with open_gguf(convert_model(tmp_path, tmp_path / "m.gguf", type).path) as gguf:
        encoder, told = Encoder(gguf, "tokens", **SIZES), text_memory(gguf.metadata, gguf.tensors, 40)
        taken = sum(part.nbytes for part in (*encoder._program.memory, *encoder._layers._constants))
        copy = encoder._layers.int16
        assert copy and (copy.nbytes > 0) == (type == "F16" and target().isa in X86) and copy._used == copy.nbytes
        taken += copy.nbytes
        assert told.cache == encoder._layers.cache.nbytes
        assert told.scratch == pytest.approx(taken, rel=0.3)
        without = told.scratch - relative_scores(gguf.metadata, 40)
        assert (without - SCRATCH_BYTES < 0.7 * (taken - SCRATCH_BYTES)) is scores
        assert describe(gguf, 40).memory == told
        encoder.close()


@pytest.mark.skipif(target().isa not in X86, reason="weights stay as they are")
def test_a_block_that_runs_several_times_is_copied_once(tmp_path: Path) -> None:
    write_folder("albert", tmp_path)
    with open_gguf(convert_model(tmp_path, tmp_path / "m.gguf", "F16").path) as gguf:
        encoder = Encoder(gguf, "tokens", **SIZES)
        products = [kernel.name for kernel in encoder._layers.graph.kernels if kernel.name == "matmul_int16"]
        assert encoder._layers.int16 and len(products) == 2 * len(encoder._layers.int16._placed) > 0
        encoder.close()
