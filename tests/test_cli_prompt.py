"""The prompt of `run`: arguments, pipes, and what cannot fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fed_stdin import feed
from scripted import EOS, session
from started import start

Said = Callable[..., tuple[int, str, str]]
NOTE = "the model has no chat template: it continues the plain text (--template NAME wraps it)\n"
BYTES_NOTE = "the text is not all UTF-8: 1 byte given to the model unchanged\n"


@pytest.mark.parametrize(
    ("arguments", "data", "fed", "prompt"),
    [
        (["de"], b"ed", False, "de"),
        (["de"], b"ed\n", True, "de\ned"),
        (["de"], b"", True, "de"),
        (["de", "--no-stdin"], b"ed", True, "de"),
        (["-"], b"ed\n\n", True, "ed\n"),
        ([], b"ed", False, "ed"),
        ([], b"\xffd", True, "\udcffd"),
        (["\udcfe"], b"", False, "\udcfe"),
    ],
)
def test_prompt(
    said: Said,
    scripted: Any,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    data: bytes,
    fed: bool,
    prompt: str,
) -> None:
    engine = scripted(EOS)
    feed(monkeypatch, data, fed=fed)
    note = BYTES_NOTE if any("\udc80" <= each <= "\udcff" for each in prompt) else ""
    assert said("run", "m", *arguments) == (0, "", f"{note}{NOTE}the model answered nothing\n")
    s, _ = session()
    assert engine.tokens == s.tokenizer.encode(prompt)


@pytest.mark.parametrize("more", [[], ["--raw"]])
def test_what_cannot_fit_is_refused_before_it_is_read_or_encoded(
    more: list[str], said: Said, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 MB on one line, and files without an end."""
    monkeypatch.setattr("llmlocal.tokenizer.base.Tokenizer.encode", lambda *_, **__: pytest.fail("it was encoded"))
    feed(monkeypatch, b"word " * 10_000_000, fed=True)
    code, out, err = said("run", story, *more)
    assert (code, out) == (7, "") and err.startswith("error: stdin has more than") and sys.stdin.buffer.tell() < 4 << 20
    code, _, err = said("run", story, "a", "-f", "/dev/zero", "--no-stdin", *more)
    assert code == 7 and err.startswith("error: /dev/zero has more than") and "hint: " in err
    monkeypatch.setattr("llmlocal.generation.session.BLANKS", 0)
    code, _, err = said("run", story, "a" * 100_000, "--no-stdin", *more)
    assert code == 7 and "a context of 512 tokens holds" in err


def test_a_long_wait_on_a_pipe_is_said(story: Path) -> None:
    with start("run", story, "Once", "-n", "2", "--raw", stdin=subprocess.PIPE) as process:
        assert process.stderr and process.stdin
        assert b"reading the prompt from stdin (--no-stdin turns this off)" in process.stderr.readline()
        out, err = process.communicate(b" upon a time")
    assert process.returncode == 0
    assert all(line.startswith(b"compiling") for line in err.splitlines())
    assert out
