"""A Hugging Face folder as a source of tensors under GGUF's names, with GGUF's metadata. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import models
from ..errors import BadFileError
from ..gguf.values import escaped, shown
from ..gguf.writer import TensorInfo
from ..quant.format import BY_NAME, load_all
from .card import general_keys
from .folder import CONFIG, Folder
from .names import named_for_gguf
from .settings import Settings
from .streams import Stream
from .words import Conversion, Keys

UNPACKED = "convert the model that it was made from"
# These read the residual stream, so their rows are as long as the model is wide; those write it.
READS = ("attn_q", "attn_k", "attn_v", "attn_qkv", "ffn_gate", "ffn_up", "token_embd", "output")
WRITES = ("attn_output", "ffn_down")


class HFModel:
    """What `open_hf` gives: `architecture`, `metadata` as a GGUF writer takes it, `tensors` in the order of the file.

    A tensor's `format` is what it is stored in, exactly (F32, F16, BF16). `metadata` has no `general.file_type`.
    """

    def __init__(self, folder: Folder, tensors: dict[str, Stream]) -> None:
        load_all()
        self.path = folder.path
        self.architecture, conversion = _conversion(folder)
        s = Settings(folder, conversion.defaults)
        _refuse_packed(s, tensors)
        keys = conversion.keys(s)
        self._streams = named_for_gguf(tensors, conversion, self.architecture, _blocks(s, keys, tensors), s)
        self.tensors = [TensorInfo(name, BY_NAME[x.format], x.shape) for name, x in self._streams.items()]
        self.metadata = self._metadata(folder, keys, conversion.vocabulary(s))
        self._check_shapes(s, keys)

    def rows(self, name: str, first: int, end: int) -> NDArray[np.float32]:
        """Rows first..end - 1 of a tensor, (end - first, k). Raises BadFileError where they hold NaN or infinity."""
        return self._streams[name].read(first, end).astype(np.float32, copy=False)

    def read(self, name: str) -> NDArray[np.float32]:
        """A whole tensor, (rows, k)."""
        return self.rows(name, 0, self._streams[name].rows)

    def _metadata(self, folder: Folder, keys: Keys, vocabulary: Keys) -> dict[str, Any]:
        own = {
            key if key.startswith(("general.", "tokenizer.")) else f"{self.architecture}.{key}": value
            for key, value in keys.items()
        }
        first = {"general.architecture": self.architecture, "general.type": "model"}
        whole = first | general_keys(folder, self._streams) | {"general.quantization_version": 2} | vocabulary | own
        return {key: value for key, value in whole.items() if value is not None}

    def _check_shapes(self, s: Settings, keys: Keys) -> None:
        """Raises BadFileError where a tensor cannot fit the settings or the vocabulary."""
        tokens = self.metadata.get("tokenizer.ggml.tokens", [])
        tokens = tokens[1] if isinstance(tokens, tuple) else tokens
        width = keys["embedding_length"]
        for name, x in self._streams.items():
            stem = name.removesuffix(".weight").split(".")[-1]
            is_matrix = len(x.shape) == 2 and name.endswith(".weight")
            if (is_matrix and stem in READS and x.k != width) or (is_matrix and stem in WRITES and x.rows != width):
                raise s.fail(f"tensor {shown(name)} is {x.shape}, but the model is {width} wide")
            if name in ("token_embd.weight", "output.weight") and tokens and x.rows != len(tokens):
                raise s.fail(f"tensor {shown(name)} has {x.rows} rows for a vocabulary of {len(tokens)} tokens")


@contextmanager
def open_hf(path: str | Path) -> Iterator[HFModel]:
    """Open a Hugging Face folder. Raises NotFoundError where it is not all there, BadFileError where it is damaged,
    holds pickles or packed numbers, or is of an architecture that is not supported.
    """
    folder = Folder(Path(path))
    with folder.tensors() as tensors:
        yield HFModel(folder, tensors)


def classes() -> dict[str, tuple[str, Conversion]]:
    """Names of transformers' classes that can be converted, with the architecture and how."""
    out: dict[str, tuple[str, Conversion]] = {}
    for arch in models.names():
        conversion = getattr(models.find(arch, ""), "CONVERSION", None)
        if conversion is not None:
            out |= dict.fromkeys(conversion.classes, (arch, conversion))
    return out


def _conversion(folder: Folder) -> tuple[str, Conversion]:
    where, named = escaped(str(folder.path / CONFIG)), folder.json(CONFIG).get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise BadFileError(f"{where}: does not say of which class the model is (architectures)")
    known = classes()
    if named[0] not in known:
        raise BadFileError(f"{where}: {shown(named[0])} is not supported", f"what is: {', '.join(sorted(known))}")
    return known[named[0]]


def _refuse_packed(s: Settings, tensors: dict[str, Stream]) -> None:
    packed = next((name for name, x in tensors.items() if x.format not in BY_NAME), None)
    method = s.find("quantization_config")
    method = method.get("quant_method") if isinstance(method, dict) else None
    if packed is not None and method is not None:
        raise BadFileError(f"{s.path}: quantized by {shown(str(method))}", UNPACKED)


def _blocks(s: Settings, keys: Keys, tensors: dict[str, Stream]) -> int:
    """The number of blocks; a folder has more tensors than blocks."""
    blocks = keys.get("block_count")
    if not isinstance(blocks, int) or not 1 <= blocks <= len(tensors):
        raise s.fail(f"{blocks} blocks in a model of {len(tensors)} tensors")
    if not isinstance(keys.get("embedding_length"), int):
        raise s.fail("hidden_size is missing")
    return blocks
