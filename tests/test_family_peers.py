"""Logits of every family in llama.cpp, on the same file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import CASES, IDS
from families.converted import BOUND, EXACT, write_converted
from naive import nmse

from llmlocal.engine import Engine
from llmlocal.gguf import open_gguf
from llmlocal.gguf.writer import write_gguf

# Norms of heads are read in models of 64 blocks and more only; sizes of Gemma 3n are those of its two models; groups of
# experts are as good as their two best in DeepSeek-V2, too; queries without a latent are read in models of 27 blocks;
# phimoe has other norms and other weights of experts; gptj, which CodeGen is, and Persimmon have names there, and no
# graph; plamo2's run does not end; grovemoe's adjugate experts read what the others made (`models/grovemoe.py`); of the
# rest llama-cpp-python 0.3.36 knows nothing.
UNKNOWN_THERE = ("command-r-plus", "gemma3n", "deepseek2-v2", "deepseek2-lite", "phimoe", "gptj", "codegen", "plamo2")
UNKNOWN_THERE += ("persimmon", "opt", "gptneo", "hyperclovax", "grovemoe", "nanochat", "vaultgemma", "lfm3")
# What llama.cpp needs otherwise: names of tokens that it looks up, and a yarn that it does not round.
THERE: dict[str, dict[str, Any]] = {
    "phi3": {"phi3.attention.sliding_window": None},  # it sees everything
    "ministral": {"llama.attention.sliding_window": None},
    "cwm": {"llama.attention.sliding_window": None},
    "mellum": {"mellum.rope.freq_base_swa": None},  # it has one base
    "starcoder2": {"starcoder2.attention.sliding_window": None},
    "exaone4-windows": {"exaone4.attention.sliding_window": None},  # it has the window in models of 64 blocks only
    "llama4": {
        f"llama4.attention.{key}": None for key in ("sliding_window", "temperature_scale", "temperature_length")
    },
    "bitnet": {"bitnet.hidden_activation": None},  # it computes SiLU
    "gpt-oss": {"gpt-oss.rope.scaling.type": None, "gpt-oss.rope.scaling.factor": None},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case not in UNKNOWN_THERE])
def test_logits_are_those_of_llama_cpp(case: str, tmp_path: Path) -> None:
    """In its own process, on the same file: a cache of floats, and no flash attention, which rounds queries."""
    python = os.environ.get("LLMLOCAL_PEER_PYTHON")
    if not python:
        pytest.skip("set LLMLOCAL_PEER_PYTHON to an interpreter that has llama-cpp-python")
    path, there = write_converted(case, tmp_path), tmp_path / "there.gguf"
    with open_gguf(path) as gguf:
        tokens = ["<|endoftext|>", "<unk>", "<s>", *list(gguf.metadata["tokenizer.ggml.tokens"])[3:]]
        meta: dict[str, Any] = {**gguf.metadata.raw(), "tokenizer.ggml.tokens": tokens, **THERE.get(case, {})}
        write_gguf(there, {k: v for k, v in meta.items() if v is not None}, gguf.tensors.values())
    script = Path(__file__).parents[1] / "tools" / "llama_cpp_reference.py"
    subprocess.run([python, script, there, tmp_path / "logits.npy", *map(str, IDS)], check=True)
    engine = Engine.open(there, n_ctx=48, n_threads=1, ubatch=64, max_outputs=64, kv_type=EXACT)
    assert nmse(engine.all_logits(IDS), np.load(tmp_path / "logits.npy")) <= BOUND
    engine.close()
