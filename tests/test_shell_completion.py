"""What shells offer when the tab key is pressed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from fake_hub import FakeHub
from filled_store import filled
from own_catalog import ENTRY, own

from llmlocal.cli.completion_scripts import candidates
from llmlocal.cli.main import app

Said = Callable[..., tuple[int, str, str]]
COMPLETED = typer.main.get_command(app)


def test_candidates(said: Said, hub: FakeHub, store: Path) -> None:
    own(ENTRY + "[aliases]\npet = 'tiny'\n")
    filled(hub, said)
    assert "tokenize" in list(candidates(COMPLETED, [""]))
    assert list(candidates(COMPLETED, ["ru"])) == ["run"]
    models = list(candidates(COMPLETED, ["run", ""]))
    assert {"tiny", "wee", "pet", "tiny:Q8_0", "hf:org/odd/odd.gguf"} <= set(models)
    assert list(candidates(COMPLETED, ["run", "tiny:"])) == ["tiny:Q4_0", "tiny:Q8_0"]
    assert list(candidates(COMPLETED, ["run", "--temp", "0", "pe"])) == ["pet"]
    assert list(candidates(COMPLETED, ["run", "tiny", "pe"])) == []
    assert list(candidates(COMPLETED, ["pull", "tiny", "pe"])) == ["pet"]
    assert list(candidates(COMPLETED, ["show", "pe"])) == ["pet"]
    assert list(candidates(COMPLETED, ["show", "--te"])) == ["--template", "--tensors"]
    assert list(candidates(COMPLETED, ["alias", ""])) == ["ls", "rm", "set"]
    assert list(candidates(COMPLETED, ["alias", "set", "x", "wee"])) == ["wee"]
    assert list(candidates(COMPLETED, ["completion", "z"])) == ["zsh"]
    assert list(candidates(COMPLETED, ["help", "ru"])) == ["run"]
    assert list(candidates(COMPLETED, ["help", "alias", ""])) == ["ls", "rm", "set"]
    assert {"csv", "json", "md"} <= set(candidates(COMPLETED, ["bench", "tiny", "-o", ""]))
    assert list(candidates(COMPLETED, ["no such", ""])) == []
    own("broken")
    assert list(candidates(COMPLETED, ["run", ""])) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_scripts(said: Said, shell: str) -> None:
    code, out, err = said("completion", shell)
    assert (code, err) == (0, "")
    assert "llmlocal completion words" in out
    program = shutil.which({"powershell": "pwsh"}.get(shell, shell))
    if program and shell != "powershell":
        subprocess.run([program, "-n"], input=out, text=True, check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("llmlocal ru", ["run"]),
        ("llmlocal run we", ["wee"]),
        ("llmlocal run tiny:", ["Q4_0", "Q8_0"]),
        ("llmlocal run tiny:Q8", ["Q8_0"]),
    ],
)
def test_bash(said: Said, hub: FakeHub, store: Path, tmp_path: Path, line: str, expected: list[str]) -> None:
    """What bash itself makes of it, whose words end at colons."""
    own(ENTRY)
    filled(hub, said)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "llmlocal"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m llmlocal "$@"\n')
    program.chmod(0o755)
    script = said("completion", "bash")[1]
    typed = f"COMP_LINE={shlex.quote(line)}; COMP_POINT={len(line)}"
    check = f"{script}\n{typed}; _llmlocal; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    out = subprocess.run(["bash", "-c", check], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert out.stdout.split() == expected
