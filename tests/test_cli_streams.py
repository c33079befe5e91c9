"""The process and its streams: readers that leave, signals, full disks, closed streams, the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from started import PROGRAM, start

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def endless(story: Path) -> list[str | Path]:
    """A run that goes on for long: nothing but the limit ends it."""
    return ["run", story, "Once upon a time", "--raw", "--temp", "0", "-n", "1000000", "-c", "100000"]


def test_run_and_bench(said: Said, story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = json.loads((story.parent / "expected.json").read_text())["files"][story.name]["continuation"]
    code, out, _ = said("run", story, "Once upon a time", "--raw", "--temp", "0", "-n", "30", "-t", "2")
    assert code == 0
    assert out
    assert expected.startswith(out.removesuffix("\n"))
    monkeypatch.setattr("llmlocal.measure.roofline.read_bandwidth", lambda n_threads: 1e9)
    code, out, _ = said("bench", story, "-p", "8", "-n", "2", "-r", "1", "-o", "json")
    assert [row["test"] for row in json.loads(out)["rows"]] == ["pp8", "tg2"]


def test_reader_that_leaves(endless: list[str | Path]) -> None:
    with start(*endless) as process:
        assert process.stdout and process.stderr
        assert len(process.stdout.read(10)) == 10
        process.stdout.close()
        assert process.wait(20) == 141
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(endless: list[str | Path], number: signal.Signals, code: int) -> None:
    with start(*endless) as process:
        assert process.stdout and process.stderr
        assert process.stdout.read(10)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert process.returncode == code
        assert b"Traceback" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["run"]])
def test_full_disk(story: Path, arguments: list[str]) -> None:
    more = [story, "Once", "-n", "2", "--raw"] if arguments == ["run"] else []
    with open("/dev/full", "w") as full, start(*arguments, *more, stdout=full) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 6
    lines = [line for line in err.decode().splitlines() if not line.startswith("compiling")]
    assert lines == ["error: cannot write: No space left on device"]


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_closed_stdout(story: Path) -> None:
    shell = ["sh", "-c", '"$@" >&-', "sh", *PROGRAM, "run", str(story), "Once", "-n", "2", "--no-stdin"]
    out = subprocess.run(shell, capture_output=True, text=True)
    assert out.returncode == 2
    assert "error: standard output is closed" in out.stderr


def shell(line: str, **environment: str) -> tuple[int, str]:
    """Exit code and stderr of a line of shell, in which $L is the program."""
    program = f"{sys.executable} -m llmlocal"
    out = subprocess.run(
        ["sh", "-c", line.replace("$L", program)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    return out.returncode, out.stderr


def test_closed_stdout_is_one_line(story: Path) -> None:
    for line in (f"$L run {story} hi -n 1 --no-stdin >&-", f"echo hi | $L chat {story} --template chatml >&-"):
        code, err = shell(line)
        assert (code, err.splitlines()[0]) == (2, "error: standard output is closed")
        assert len(err.splitlines()) == 2


def test_an_answer_does_not_fail_where_stderr_takes_nothing(story: Path) -> None:
    assert shell(f'test -n "$($L run {story} hi -n 2 -v --no-stdin 2>/dev/full)"')[0] == 0
    assert shell("$L run nosuch hi --no-stdin 2>/dev/full")[0] == 3
    assert shell("$L list 0<&- 1>&- 2>&-")[0] == 0


def test_ctrl_c_while_modules_are_loaded() -> None:
    """The process ends by the signal, which shells show as 130, and prints nothing."""
    code = """
import os, signal, sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupted())
from llmlocal.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_the_process_ends_with_its_code_after_all_others() -> None:
    """What was registered for the end and a thread that goes on are waited for; what was written is there."""
    code = """
import atexit, sys, threading, time
from llmlocal import __main__
def work():
    time.sleep(0.2)
    print("thread")
def main():
    atexit.register(print, "registered")
    threading.Thread(target=work).start()
    print("said")
    return 7
__main__.main = main
sys.exit(__main__.run())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\nthread\nregistered\n", "")


def test_a_file_never_becomes_a_closed_stream(tmp_path: Path) -> None:
    code = "from llmlocal.cli.main import main; main(['list']); print(open(__file__).fileno(), file=open('n', 'w'))"
    (tmp_path / "p.py").write_text(code)
    subprocess.run(["sh", "-c", f"{sys.executable} p.py <&- >&- 2>&-"], cwd=tmp_path, check=True)
    assert int((tmp_path / "n").read_text()) > 2
