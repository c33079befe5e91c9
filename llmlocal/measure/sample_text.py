"""A short text of ours, for measuring what nobody gave a text for: prose, talk, letters, code, lists, three languages.

It was written for this project; its license is the project's.
"""

from __future__ import annotations

from pathlib import Path


def sample_text() -> str:
    """About 1,200 words, nearly two thousand tokens of a large vocabulary."""
    return Path(__file__).with_name("sample_text.txt").read_text("utf-8")
