"""The default text for measurements: prose, dialogue, letters, code, lists, in three languages.

Written for this project, under the project's license.
"""

from __future__ import annotations

from pathlib import Path


def sample_text() -> str:
    """The text: about 1,200 words, nearly 2,000 tokens with a large vocabulary."""
    return Path(__file__).with_name("sample_text.txt").read_text("utf-8")
