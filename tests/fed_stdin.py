"""A stdin for a program that runs in this process."""

from __future__ import annotations

import sys
from io import BytesIO, TextIOWrapper

import pytest


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes, *, fed: bool = True) -> None:
    """Make `data` the process's stdin, which looks like a pipe where `fed`."""
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(data)))
    monkeypatch.setattr("llmlocal.cli.text_input._is_fed", lambda: fed)
