"""Chats with a scripted model at a terminal, and what they saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from terminals import Person, at_a_chat, people

Chat = Callable[..., Person]


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    """Starts a chat with a scripted model at a terminal; all of them are ended with the test."""

    def start(
        answers: list[str],
        *options: str | Path,
        delay: float = 0,
        n_ctx: int = 4096,
        columns: int = 80,
        template: str = "",
        loading: str = "",
        failure: str = "",
        **environment: str,
    ) -> Person:
        script = {"answers": answers, "delay": delay, "n_ctx": n_ctx, "failure": failure}
        script |= {"loading": str(tmp_path / loading) if loading else ""} | ({"template": template} if template else {})
        more = () if template else ("--template", "chatml")
        started.append(at_a_chat(tmp_path, script, "m", *more, *options, columns=columns, **environment))
        return started[-1]

    with people() as started:
        yield start


def sessions(tmp_path: Path) -> list[list[dict[str, Any]]]:
    """The records of all saved sessions; every line must be whole."""
    files = sorted((tmp_path / "llmlocal" / "sessions").glob("*.jsonl"))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in files]


def texts(records: list[dict[str, Any]]) -> list[str]:
    return [m["content"] for record in records if record.get("type") == "turn" for m in record["messages"]]
