"""The tiny model that tests pull from the hub on loopback, and what a pull leaves in the store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hubs import REPO, files_below, model

DATA = model()
NAME = "tiny-Q8_0.gguf"
MODEL = f"hf:{REPO}:Q8_0"
COMMIT = "a" * 40


def pointer(store: Path, name: str = NAME) -> Path:
    return store / "models--org--tiny-GGUF" / "snapshots" / COMMIT / name


def whole(store: Path, data: bytes = DATA) -> None:
    """The store holds the file, in the hub's layout, and nothing else."""
    digest = hashlib.sha256(data).hexdigest()
    folder = "models--org--tiny-GGUF"
    assert files_below(store) == sorted(
        [f"{folder}/blobs/{digest}", f"{folder}/refs/main", f"{folder}/snapshots/{COMMIT}/{NAME}"]
    )
    assert pointer(store).read_bytes() == data
    assert os.readlink(pointer(store)) == f"../../blobs/{digest}"
