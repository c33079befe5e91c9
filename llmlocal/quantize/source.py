"""Sources of tensors: a GGUF file with all its parts or a Hugging Face folder, with LoRA adapters merged into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import BadFileError
from ..gguf import split
from ..gguf.reader import GGUFFile, open_gguf
from ..gguf.values import ALIGNMENT_KEY
from ..quant.format import BY_NAME
from ..quant.formats import load_named
from ..quant.recipes import TensorSpec
from ..quant.tensor import QTensor
from ..text import escaped

if TYPE_CHECKING:
    from ..lora.adapter import Adapter
    from ..quant.quantizer import RowReader

PEFT = "give the Hugging Face folder of the model as SRC, or convert the adapter to GGUF"


class TensorSource(Protocol):
    """A model to be written: metadata, and named tensors that are read by rows."""

    @property
    def path(self) -> Path: ...
    @property
    def metadata(self) -> dict[str, Any]:
        """As `GGUFWriter` takes it, without what belongs to one file only: alignment and parts."""
        ...

    @property
    def notes(self) -> list[str]:
        """What the user should know of the source."""
        ...

    @property
    def values(self) -> Mapping[str, Any]:
        """The metadata's values without their types."""
        ...

    @property
    def tensors(self) -> list[TensorSpec]:
        """Every tensor, in the order of the file; `format` is what it keeps where nothing else is planned."""
        ...

    @property
    def kept(self) -> frozenset[str]:
        """Tensors that `convert` writes in their format, bit by bit, unless another is asked for."""
        ...

    def tensor(self, name: str) -> QTensor | RowReader:
        """The tensor to read."""
        ...

    def release(self, name: str) -> None:
        """Give back memory of a tensor that will not be read again."""
        ...


@contextmanager
def open_source(path: Path, lora: Sequence[Path] = ()) -> Iterator[TensorSource]:
    """Open a GGUF file or a Hugging Face folder, with LoRA adapters merged into it (PEFT folders or GGUF files).

    Raises NotFoundError where something is missing; BadFileError where it is damaged, not supported, or where an
    adapter belongs to another model.
    """
    if path.is_dir():
        from ..convert.hf_source import open_hf

        with open_hf(path, lora) as source:
            yield source
    else:
        adapters = _gguf_adapters(lora)
        with open_gguf(path) as gguf:
            yield GGUFSource(gguf, adapters)


class GGUFSource:
    """A GGUF file; tensors that an adapter changes are computed while they are read, the others stay mapped."""

    def __init__(self, gguf: GGUFFile, adapters: Sequence[Adapter] = ()) -> None:
        self._gguf = gguf
        self.path, self.values, self.notes = gguf.path, gguf.metadata, list[str]()
        self.metadata = {k: v for k, v in gguf.metadata.raw().items() if k not in (ALIGNMENT_KEY, *split.KEYS)}
        self._merged: dict[str, RowReader] = _merged(gguf, adapters) if adapters else {}
        self.tensors = [TensorSpec(t.name, t.shape, t.format) for t in gguf.tensors.values()]
        self.kept: frozenset[str] = frozenset()

    def tensor(self, name: str) -> QTensor | RowReader:
        return self._merged.get(name) or self._gguf.tensors[name]

    def release(self, name: str) -> None:
        self._gguf.forget(self._gguf.tensors[name])


def _gguf_adapters(lora: Sequence[Path]) -> list[Adapter]:
    """Adapters for a GGUF file. Raises BadFileError for a PEFT folder."""
    if not lora:
        return []
    from ..lora.adapter import read_adapter

    adapters = [read_adapter(path) for path in lora]
    if peft := next((a for a in adapters if a.architecture is None), None):
        raise BadFileError(f"{peft.where}: a PEFT adapter cannot be merged into a GGUF file", PEFT)
    return adapters


def _merged(gguf: GGUFFile, adapters: Sequence[Adapter]) -> dict[str, RowReader]:
    """The tensors that adapters change, by name, with the change added."""
    from ..convert.stream_tensor import StreamTensor
    from ..hf.streams import Stream
    from ..lora.adapter import merge_adapters

    def stream(t: QTensor) -> Stream:
        data = t.bytes_array()
        return Stream(t.shape, "F32", lambda first, end: t.format.dequantize(data[first:end]))

    changed = {name for adapter in adapters for name in (*adapter.deltas, *adapter.replaced)}
    if stored := next((t for n, t in gguf.tensors.items() if n in changed and t.format.activations is None), None):
        raise BadFileError(f"{escaped(stored.name)} is {stored.format.name}, to which nothing can be added")
    streams = merge_adapters(
        {name: stream(t) for name, t in gguf.tensors.items()}, adapters, str(gguf.metadata.get("general.architecture"))
    )
    load_named("F32")
    return {name: StreamTensor(name, BY_NAME["F32"], streams[name]) for name in sorted(changed)}
