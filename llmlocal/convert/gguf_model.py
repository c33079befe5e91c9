"""A GGUF file as a source of tensors, so that adapters can be merged into it. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import BadFileError
from ..gguf import GGUFFile, open_gguf
from ..hf.streams import Stream
from ..quant.tensor import QTensor
from ..text import escaped
from .lora import read_adapter
from .model import Model, ModelTensor, open_hf, with_adapters

PEFT = "give the Hugging Face folder of the model as SRC, or convert the adapter to GGUF"


@contextmanager
def open_model(path: Path, lora: Sequence[Path]) -> Iterator[Model]:
    """Open a Hugging Face folder, or a GGUF file, with adapters merged into it. Raises as `open_hf` and `open_gguf`."""
    if not path.is_file():
        with open_hf(path, lora) as model:
            yield model
        return
    adapters = [read_adapter(adapter) for adapter in lora]
    if peft := next((a for a in adapters if a.architecture is None), None):
        raise BadFileError(f"{peft.where}: names tensors as transformers does, SRC as GGUF does", PEFT)
    with open_gguf(path) as gguf:
        architecture = str(gguf.metadata.get("general.architecture"))
        streams = with_adapters({name: _stream(t) for name, t in gguf.tensors.items()}, adapters, architecture)
        yield Model(path, architecture, _metadata(gguf), [_tensor(gguf, name, x) for name, x in streams.items()])


def _metadata(gguf: GGUFFile) -> dict[str, object]:
    """The file's own, less what is said of its format and its parts."""
    left = ("general.file_type", "general.alignment")
    return {k: v for k, v in gguf.metadata.raw().items() if k not in left and not k.startswith("split.")}


def _tensor(gguf: GGUFFile, name: str, x: Stream) -> ModelTensor:
    return ModelTensor(name, gguf.tensors[name].format, x.shape, x)


def _stream(t: QTensor) -> Stream:
    if not t.format.activations:
        raise BadFileError(f"{escaped(t.name)} is {t.format.name}, which is not decoded row by row")
    data = t.bytes_array()
    return Stream(t.shape, t.format.name, lambda first, end: t.format.dequantize(data[first:end]))
