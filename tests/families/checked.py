"""The fixture `checked`: a model whose keys, tensors and bits are looked at one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from families import CASES

# Of each block a case, and what was built last: in the others the checks of keys and tensors find the same words.
THOROUGH = (
    *("afmoe", "bitnet", "command-r-plus", "dbrx", "deepseek2-lite", "falcon", "gemma2-short-window", "gemma3n"),
    *("gemma4-experts", "glm4moe", "gpt-oss", "gpt2", "granitehybrid", "grok", "jamba", "kimi-linear", "lfm2moe"),
    *("llama", "mamba2", "minicpm3", "mpt", "nemotron_h", "phi3", "plamo2", "qwen35", "rwkv7", "stablelm", "step35"),
)


@pytest.fixture(scope="module", params=[c if c in THOROUGH else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def checked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The case and its GGUF file; all cases with --slow."""
    from families.converted import write_converted  # only now: kernels go to pytest's cache, which is chosen before

    case = request.param
    return case, write_converted(case, tmp_path_factory.mktemp(case))
