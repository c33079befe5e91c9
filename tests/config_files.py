"""The fixture `file`: the config file, empty."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config file, empty."""
    path = tmp_path / "own.toml"
    path.write_text("")
    monkeypatch.setenv("LLMLOCAL_CONFIG", str(path))
    return path
