"""A Hugging Face folder as a source of tensors under GGUF's names, with GGUF's metadata. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import models
from ..errors import BadFileError
from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion
from ..hf.folder import CONFIG, Folder
from ..hf.streams import Stream
from ..quant.format import BY_NAME, Format
from ..quant.formats import load_all
from ..text import escaped, shown
from .card import general_keys
from .lora import Adapter, read_adapter
from .names import named_for_gguf
from .vocabulary import read_vocabulary

UNPACKED = "convert the model that it was made from"
# These read the residual stream, so their rows are as long as the model is wide; those write it.
READS = ("attn_q", "attn_k", "attn_v", "attn_qkv", "ffn_gate", "ffn_up", "token_embd", "output")
WRITES = ("attn_output", "ffn_down")


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """A tensor under its GGUF name; `format` is what the source keeps its numbers in (F32, F16, BF16 in a folder)."""

    name: str
    format: type[Format]
    shape: tuple[int, ...]
    stream: Stream

    @property
    def rows(self) -> int:
        """Product of all dimensions but the last."""
        return self.stream.rows

    def read(self, first: int, last: int) -> NDArray[np.float32]:
        """Rows first..last - 1, (last - first, k). Raises BadFileError where they hold NaN or infinity."""
        return self.stream.read(first, last).astype(np.float32, copy=False)


@dataclass(slots=True)
class Model:
    """A source: `architecture`, `metadata` as a GGUF writer takes it, and `tensors` to be read by rows.

    `metadata` lacks `general.file_type`, which is for the writer to say.
    """

    path: Path
    architecture: str
    metadata: dict[str, Any]
    tensors: list[ModelTensor]

    def rows(self, name: str, first: int, last: int) -> NDArray[np.float32]:
        """Rows first..last - 1 of the tensor `name`, as `ModelTensor.read`."""
        return next(t for t in self.tensors if t.name == name).read(first, last)


@contextmanager
def open_hf(path: str | Path, lora: Sequence[str | Path] = ()) -> Iterator[Model]:
    """Open a Hugging Face folder, with LoRA adapters merged into it (PEFT folders or GGUF files).

    Raises NotFoundError where it is not all there, BadFileError where it is damaged, holds pickles or packed numbers,
    is of an architecture that is not supported, or an adapter is another model's.
    """
    folder = Folder(Path(path))
    adapters = [read_adapter(Path(adapter)) for adapter in lora]
    with folder.tensors() as tensors:
        yield _model(folder, tensors, adapters)


def classes() -> dict[str, tuple[str, Conversion]]:
    """Names of transformers' classes that can be converted, with the architecture and how."""
    out: dict[str, tuple[str, Conversion]] = {}
    for arch in models.names():
        conversion = getattr(models.find(arch, ""), "CONVERSION", None)
        if conversion is not None:
            out |= dict.fromkeys(conversion.classes, (arch, conversion))
    return out


def _model(folder: Folder, tensors: dict[str, Stream], adapters: Sequence[Adapter]) -> Model:
    load_all()
    architecture, conversion = _conversion(folder)
    s = Settings(folder, conversion.defaults)
    _refuse_packed(s, tensors)
    keys = conversion.keys(s)
    tensors = with_adapters(tensors, [a for a in adapters if a.architecture is None])
    streams = named_for_gguf(tensors, conversion, architecture, _blocks(s, keys, tensors), s)
    streams = with_adapters(streams, [a for a in adapters if a.architecture is not None], architecture)
    vocabulary = (conversion.vocabulary or read_vocabulary)(s)
    _check_shapes(s, streams, keys["embedding_length"], vocabulary.get("tokenizer.ggml.tokens", ("", []))[1])
    metadata = _metadata(architecture, keys, general_keys(folder, streams), vocabulary)
    held = [ModelTensor(name, BY_NAME[x.format], x.shape, x) for name, x in streams.items()]
    return Model(folder.path, architecture, metadata, held)


def _check_shapes(s: Settings, streams: dict[str, Stream], width: int, tokens: list[str]) -> None:
    """Raises BadFileError where a tensor cannot fit the settings or the vocabulary."""
    for name, x in streams.items():
        stem = name.removesuffix(".weight").split(".")[-1]
        is_matrix = len(x.shape) == 2 and name.endswith(".weight")
        if (is_matrix and stem in READS and x.k != width) or (is_matrix and stem in WRITES and x.rows != width):
            raise s.fail(f"tensor {shown(name)} is {x.shape}, but the model is {width} wide")
        if name in ("token_embd.weight", "output.weight") and tokens and x.rows != len(tokens):
            raise s.fail(f"tensor {shown(name)} has {x.rows} rows for a vocabulary of {len(tokens)} tokens")


def _conversion(folder: Folder) -> tuple[str, Conversion]:
    where, named = escaped(str(folder.path / CONFIG)), folder.json(CONFIG).get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise BadFileError(f"{where}: does not say of which class the model is (architectures)")
    known = classes()
    if named[0] not in known:
        raise BadFileError(f"{where}: {shown(named[0])} is not supported", f"what is: {', '.join(sorted(known))}")
    return known[named[0]]


def _metadata(architecture: str, keys: Keys, general: Keys, vocabulary: Keys) -> dict[str, Any]:
    """All keys in GGUF's order: what the model is, its vocabulary, its hyper-parameters, which win."""
    own = {
        key if key.startswith(("general.", "tokenizer.")) else f"{architecture}.{key}": value
        for key, value in keys.items()
    }
    first = {"general.architecture": architecture, "general.type": "model"}
    whole = first | general | {"general.quantization_version": 2} | vocabulary | own
    return {key: value for key, value in whole.items() if value is not None}


def with_adapters(
    tensors: dict[str, Stream], adapters: Sequence[Adapter], architecture: str | None = None
) -> dict[str, Stream]:
    """`tensors` with adapters in them. Raises BadFileError for one of another architecture."""
    for adapter in adapters:
        if adapter.architecture != architecture:
            raise BadFileError(f"{adapter.where}: is for {adapter.architecture}, the model is {architecture}")
        tensors = adapter.merged(tensors)
    return tensors


def _refuse_packed(s: Settings, tensors: dict[str, Stream]) -> None:
    said = s.find("quantization_config")
    if isinstance(said, dict) and any(x.format not in ("F32", "F16", "BF16") for x in tensors.values()):
        raise BadFileError(f"{s.path}: quantized by {shown(str(said.get('quant_method')))}", UNPACKED)


def _blocks(s: Settings, keys: Keys, tensors: dict[str, Stream]) -> int:
    """The number of blocks; a folder has more tensors than blocks."""
    blocks = keys.get("block_count")
    if not isinstance(blocks, int) or not 1 <= blocks <= len(tensors):
        raise s.fail(f"{blocks} blocks in a model of {len(tensors)} tensors")
    if not isinstance(keys.get("embedding_length"), int):
        raise s.fail("hidden_size is missing")
    return blocks
