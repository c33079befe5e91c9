"""GGUF files: a strict reader over a mapping, an atomic writer. Independent of the formats' arithmetic."""

from .reader import GGUFFile, Metadata, open_gguf
from .values import Array, ValueType
from .writer import GGUFWriter, TensorInfo, write_gguf

__all__ = ["Array", "GGUFFile", "GGUFWriter", "Metadata", "TensorInfo", "ValueType", "open_gguf", "write_gguf"]
