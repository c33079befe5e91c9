"""A hub for one test: its address in the environment, a store in the test's folder, no pause between tries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import FakeHub, running
from gguf_bytes import STRING, U32, container, entry, record

REPO = "org/tiny-GGUF"
KIB = 1024


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, and nothing of the user's or the machine's that could matter."""
    for name in list(os.environ):
        if name.startswith(("HF_", "HUGGING")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "store"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("llmlocal.hub.download.BACKOFF", 0.001)
    return tmp_path / "store"


@pytest.fixture
def hub(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def model(size: int = 300 * KIB, *, seed: int = 1, arch: str = "llama", more: list[bytes] | None = None) -> bytes:
    """A legal file of about `size` bytes: metadata, and one tensor of random F32."""
    import random

    values = size // 4 // 32 * 32
    entries = [entry("general.architecture", STRING, arch), entry(f"{arch}.context_length", U32, 2048)]
    entries += [entry(f"{arch}.block_count", U32, 2), entry(f"{arch}.embedding_length", U32, 64), *(more or [])]
    data = random.Random(seed).randbytes(values * 4)
    return container(entries, [record("token_embd.weight", [values])], data)


def files_below(folder: Path) -> list[str]:
    """Every file below a folder, but for locks, by its path."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() and p.suffix != ".lock")
