"""What an engine says of a file with other keys and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from llmlocal.engine import Engine
from llmlocal.errors import BadFileError
from llmlocal.gguf import GGUFFile
from llmlocal.quant.tensor import QTensor


def opened(gguf: GGUFFile, keys: Mapping[str, Any] = {}, tensors: Mapping[str, QTensor | None] = {}) -> str:
    """What is said of the file with other keys and tensors (None takes one away), empty where it is accepted.

    Anything but a refusal of the file fails the test.
    """
    odd: Any = SimpleNamespace(
        path=gguf.path,
        metadata={k: v for k, v in {**gguf.metadata, **keys}.items() if v is not None},
        tensors={k: v for k, v in {**gguf.tensors, **tensors}.items() if v is not None},
    )
    try:
        Engine(odd, n_ctx=16, n_threads=1, n_seqs=1, ubatch=16, max_outputs=1, kv_type="f16")
    except BadFileError as error:
        assert error.exit_code == 5 and "\n" not in str(error)
        return str(error)
    return ""


ODD = (0, 1 << 31, 3, 7.5, float("nan"), float("inf"), -1.0, 1e30, "4", True, [1, 2])
# Tensors say it in StableLM; the others name an order of rows, of which these architectures have one.
NOT_READ = ("vocab_size", "stablelm.use_parallel_residual", "orion.tensor_data_layout", "xverse.tensor_data_layout")
