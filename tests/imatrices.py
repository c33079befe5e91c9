"""An importance matrix of a model from a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmlocal.imatrix.collect import CollectOptions, collect
from llmlocal.imatrix.file import Imatrix

CTX = 64


def measured(path: Path, text: bytes, out: Path, **options: Any) -> Imatrix:
    *_, last = collect(path, text, "text.txt", out, CollectOptions(**{"n_ctx": CTX, **options}))
    return last.matrix
