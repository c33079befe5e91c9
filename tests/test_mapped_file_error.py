"""A model file that is cut while it is mapped: one line, exit code 5, the terminal as it was, sessions whole."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmlocal.chat import store
from llmlocal.cli.ui.mapped_file_error import MESSAGE, RESET

pytestmark = pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="signals of POSIX")
CUT = """
import mmap, os, sys, termios
from llmlocal.cli.ui.terminal import Screen
if len(sys.argv) > 2:
    modes = termios.tcgetattr(0)
with Screen(quiet=True):
    if len(sys.argv) > 2:
        modes[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(0, termios.TCSANOW, modes)
    with open(sys.argv[1], "rb") as file:
        held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    os.truncate(sys.argv[1], 10)
    held[len(held) - 1]
"""
READ = """
import os, sys
from llmlocal.cli.main import main
from llmlocal.model_info import describe

def cut_and_read(gguf, *_):
    os.truncate(gguf.path, 10)
    return bytes(next(gguf.files())[2])

describe.describe = cut_and_read
code = main(["show", sys.argv[1]])
"""
TRUNCATIONS, FIRST = int(os.environ.get("LLMLOCAL_FUZZ", "200")), int(os.environ.get("LLMLOCAL_FUZZ_FROM", "0"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 17))
    return path


def test_one_line_and_the_code_of_a_bad_file(file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CUT, str(file)], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (5, b"", MESSAGE)


def test_commands_that_only_read_a_header_say_it_too(story: Path, tmp_path: Path) -> None:
    shutil.copy(story, tmp_path / "model.gguf")
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path / "model.gguf")], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (5, b"", MESSAGE)


def test_terminal_is_as_it_was(file: Path) -> None:
    import termios

    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    assert before[3] & termios.ECHO
    done = subprocess.run([sys.executable, "-c", CUT, str(file), "tty"], stdin=slave, stderr=slave, check=False)
    assert done.returncode == 5
    assert termios.tcgetattr(slave) == before
    said = os.read(master, 1000).replace(b"\r\r\n", b"\r\n")
    assert said == RESET + MESSAGE.replace(b"\n", b"\r\n")
    os.close(master)
    os.close(slave)


def test_other_bus_errors_end_the_process_as_before() -> None:
    code = (
        "import os, signal\nfrom llmlocal.cli.ui.terminal import Screen\n"
        "with Screen():\n    os.kill(os.getpid(), signal.SIGBUS)\n    os.kill(os.getpid(), signal.SIGBUS)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGBUS, b"")


CUT_MODEL = """
import os, sys
import llmlocal
model = llmlocal.load(sys.argv[1], weights="copy")
model.generate("once", max_tokens=9)
os.truncate(sys.argv[1], 100_000)
model.generate("another text", max_tokens=90)
"""


@pytest.mark.slow
def test_python_api_installs_no_handler(story: Path, tmp_path: Path) -> None:
    shutil.copy(story, tmp_path / "model.gguf")
    done = subprocess.run(
        [sys.executable, "-c", CUT_MODEL, str(tmp_path / "model.gguf")], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGBUS, b"", b"")


@pytest.mark.slow
def test_models_cut_at_random_moments(stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of runs and chats, from before the file is opened until after the last token.

    LLMLOCAL_FUZZ is their number, LLMLOCAL_FUZZ_FROM that of the first, as in test_fuzz.py.
    """
    data = tmp_path / "data"
    original, model = stories / "stories260K-f32.gguf", tmp_path / "model.gguf"
    environment = {**os.environ, "XDG_DATA_HOME": str(data)}
    codes: dict[int, int] = {}
    for i in range(FIRST, FIRST + TRUNCATIONS):
        rng = random.Random(f"22 {i}")
        shutil.copy(original, model)
        size, chat = model.stat().st_size, i % 2
        words = ["chat", model, "--template", "chatml"] if chat else ["run", model, "once", "-n", "200", "--no-stdin"]
        started = subprocess.Popen(
            [sys.executable, "-m", "llmlocal", *map(str, words), "--prompt-cache", "off"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        assert started.stdin
        started.stdin.write(b"once upon a time\nand then\n" if chat else b"")
        started.stdin.flush()
        time.sleep(rng.uniform(0, 2))
        if started.poll() is None:
            os.truncate(model, rng.randrange(size))
        _, err = started.communicate(timeout=60)
        codes[started.returncode] = codes.get(started.returncode, 0) + 1
        errors = [line for line in err.decode().splitlines() if line.startswith(("error", "Traceback", "Fatal"))]
        assert started.returncode in (0, 5), (i, err)
        assert len(errors) == (started.returncode != 0), (i, err)
    assert codes.get(5, 0) > TRUNCATIONS // 10, codes
    assert all(isinstance(item, store.SavedSession) for item in store.listing(data / "llmlocal" / "sessions"))
