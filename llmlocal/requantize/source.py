"""What can be quantized, seen alike: a GGUF file, with all its parts, or a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import BadFileError
from ..gguf.reader import GGUFFile, open_gguf
from ..gguf.values import Array, ValueType
from ..quant.format import BY_NAME, Format
from ..quant.recipes import Shape, Wanted
from ..quant.tensor import QTensor
from ..text import shown

if TYPE_CHECKING:
    from ..convert.model import Model as Folder
    from ..quant.quantizer import Source


class Model(Protocol):
    """A source: `metadata` as a writer takes it, `plain` values only, `tensors` in the order of the file."""

    @property
    def path(self) -> Path: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    @property
    def plain(self) -> Mapping[str, Any]: ...
    @property
    def tensors(self) -> list[Wanted]: ...
    def tensor(self, name: str) -> QTensor | Source:
        """What a quantizer reads."""
        ...

    def forget(self, name: str) -> None:
        """The tensor will not be read again."""
        ...


@contextmanager
def open_source(path: Path) -> Iterator[Model]:
    """Open a GGUF file or a Hugging Face folder. Raises what their readers raise."""
    if path.is_dir():
        from ..convert.model import open_hf

        with open_hf(path) as folder:
            yield FolderModel(folder)
    else:
        with open_gguf(path) as gguf:
            yield FileModel(gguf)


class FileModel:
    """A GGUF file as a source."""

    def __init__(self, gguf: GGUFFile) -> None:
        self._gguf = gguf
        self.path, self.plain, self.metadata = gguf.path, gguf.metadata, dict(gguf.metadata.raw())
        self.tensors = [Wanted(t.name, t.shape, t.format) for t in gguf.tensors.values()]

    def tensor(self, name: str) -> QTensor:
        return self._gguf.tensors[name]

    def forget(self, name: str) -> None:
        self._gguf.forget(self._gguf.tensors[name])


class FolderModel:
    """A Hugging Face folder as a source. What no recipe concerns gets the format that a conversion gives it."""

    def __init__(self, folder: Folder) -> None:
        from ..convert.write import format_of

        self.path, self.metadata = folder.path, folder.metadata
        self.plain = {key: _plain(value) for key, value in folder.metadata.items()}
        self.tensors = [Wanted(t.name, t.shape, format_of(t, t.format)) for t in folder.tensors]
        self._held = {t.name: t for t in folder.tensors}

    def tensor(self, name: str) -> Source:
        return self._held[name]

    def forget(self, name: str) -> None:
        """Streams hold nothing."""


def model_shape(model: Model) -> Shape:
    """What recipes ask. Raises BadFileError where the model does not say how many layers it has."""
    plain = model.plain
    architecture = plain.get("general.architecture")

    def first(name: str, default: int = 0) -> int:
        value = plain.get(f"{architecture}.{name}", default)
        if isinstance(value, Array | list):
            value = value[0] if len(value) else default
        return value if isinstance(value, int) else default

    layers = first("block_count")
    if not isinstance(architecture, str) or layers < 1:
        raise BadFileError(f"{model.path}: says neither what it is nor how many layers it has", "is it a model?")
    heads = first("attention.head_count", 1)
    shared = heads // max(1, first("attention.head_count_kv", heads))
    return Shape(architecture, layers, first("expert_count"), shared)


def check_quantized(tensor: Wanted, target: type[Format], *, allowed: bool) -> None:
    """Raises BadFileError for a tensor that has lost bits already, unless that is allowed."""
    if tensor.format is not target and tensor.format not in (BY_NAME["F32"], BY_NAME["F16"], BY_NAME["BF16"]):
        if tensor.format.activations is None:
            raise BadFileError(f"tensor {shown(tensor.name)} is {tensor.format.name}, which is not quantized")
        if not allowed:
            raise BadFileError(
                f"tensor {shown(tensor.name)} is {tensor.format.name} already, and loses more by {target.name}",
                "quantize the F16 file, or give --allow-requantize",
            )


def _plain(value: Any) -> Any:
    return value[1] if isinstance(value, tuple) and value and isinstance(value[0], ValueType) else value
