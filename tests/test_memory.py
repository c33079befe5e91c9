"""What a run takes, told from metadata, against what the engine really allocates; tables against `gguf`."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import gguf
import pytest
from families.converted import write_converted

from llmlocal import model_sizes, models
from llmlocal.engine import Engine
from llmlocal.gguf import file_types, open_gguf
from llmlocal.model_info import describe
from llmlocal.model_info.memory import PROGRAM, memory
from llmlocal.quant.kernels.matmul import SCRATCH_BYTES
from llmlocal.text import format_bytes

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")


LLAMA, EXPERTS = "tiny-llama-256", "tiny-qwen3moe-256"


@pytest.mark.parametrize(
    ("shape", "n_ctx", "kv_type"),
    [(LLAMA, 300, "f16"), (LLAMA, 512, "q8_0"), (LLAMA, 2048, "f16"), (LLAMA, 2048, "q8_0"), (EXPERTS, 512, "f16")],
)
def test_prediction_is_what_the_engine_takes(tmp_path: Path, shape: str, n_ctx: int, kv_type: str) -> None:
    make_model.make_model(shape, path := tmp_path / "m.gguf")
    with open_gguf(path) as file:
        told = memory(file.metadata, file.tensors, n_ctx, kv_type)
        weights = sum(tensor.nbytes for tensor in file.tensors.values())
    model = Engine.open(path, n_ctx=n_ctx, n_threads=1, kv_type=kv_type)
    try:
        assert told.weights == weights
        assert told.cache == model._cache.nbytes
        assert told.scratch == pytest.approx(
            sum(part.nbytes for part in model._program.memory), rel=0.1 if shape == LLAMA else 0.15
        )
    finally:
        model.close()


@pytest.mark.parametrize("case", ["lfm2", "lfm2moe", "kimi-linear", "rwkv6", "rwkv7"])
def test_states_of_recurrent_layers_are_told(tmp_path: Path, case: str) -> None:
    with open_gguf(path := write_converted(case, tmp_path)) as file:
        told = memory(file.metadata, file.tensors, 512)
    model = Engine.open(path, n_ctx=512, n_threads=1)
    try:
        assert told.states == sum(layer.slots[1:].nbytes for layer in model._states.layers) > 0
        assert told.cache == model._cache.nbytes
    finally:
        model.close()


def test_numbers_of_an_architecture_are_read_from_its_file() -> None:
    """Those that the module itself has, which is not imported for them."""
    for arch in models.names():
        module, said = models.find(arch, ""), models.numbers(arch)
        assert said == {name: getattr(module, name) for name in said}
        source = Path(str(module.__file__)).read_text()
        own = {name for name in ("PERIOD", "WINDOW") if re.search(rf"^(\w+, )*{name}\b.* = ", source, re.MULTILINE)}
        assert own == {"PERIOD", "WINDOW"} & said.keys()


def test_a_lying_file_is_no_trouble() -> None:
    lies = {"general.architecture": "x", "x.block_count": 1 << 31, "x.attention.head_count": 0, "x.embedding_length": 8}
    assert memory(lies, {}, 100).total == memory({}, {}, 100).total + 512 // 512 * 100 * 3 * 8 * 4
    assert memory({"general.architecture": 3}, {}, 4096).total == PROGRAM + SCRATCH_BYTES


@pytest.mark.parametrize(
    ("nbytes", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "0.977 KiB"), (770924192, "735 MiB"), (3 << 29, "1.5 GiB")],
)
def test_in_words(nbytes: int, words: str) -> None:
    assert format_bytes(nbytes) == words


def test_file_types_are_those_of_llama_cpp() -> None:
    known = {int(t): t.name.removeprefix("MOSTLY_").removeprefix("ALL_") for t in gguf.LlamaFileType}
    known.pop(1024)
    assert {number: file_types.NAMES[number] for number in known} == known


def test_default_context_is_the_engines() -> None:
    assert describe.DEFAULT_CONTEXT == model_sizes.DEFAULT_CONTEXT
