"""What a GGUF file may hold at most. A larger one is refused."""

from __future__ import annotations

MAX_ENTRIES = MAX_TENSORS = 65_536
MAX_KEY = 65_535  # bytes, by the GGUF specification
MAX_TENSOR_NAME = 63  # bytes, ggml's GGML_MAX_NAME less the final zero
MAX_STRING = 64 << 20  # bytes
MAX_ARRAY = 16 << 20  # elements
MAX_DIMS = 4
