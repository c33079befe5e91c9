"""The program as people and pipes see it: what it prints where, how it fails, and how it is interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import forked
import pytest
from scripted import EOS, session, word

from llmlocal import __version__
from llmlocal.cli.main import COMMANDS
from llmlocal.cli.ui import terminal
from llmlocal.errors import LlmlocalError
from llmlocal.quant.jit.linker import Progress

PROGRAM = [sys.executable, "-m", "llmlocal"]
TEMPLATES = ("M50", "M51")  # hostile chat templates, which a raw prompt never meets
NOTE = "the model has no chat template: it continues the plain text (--template NAME wraps it)\n"
REFUSED = [f"M{n:02}" for n in range(1, 55) if n != 41]  # M41 runs: the special id that lies outside is not needed
Said = Callable[..., tuple[int, str, str]]


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes, *, fed: bool = True) -> None:
    """Make `data` the process's stdin, which looks like a pipe where `fed`."""
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(data)))
    monkeypatch.setattr("llmlocal.cli.text_input._is_fed", lambda: fed)


# ---- help and mistakes --------------------------------------------------------------------------------------------


def test_help_and_version(said: Said) -> None:
    code, out, err = said("--help")
    assert (code, err) == (0, "")
    assert all(command in out for command in COMMANDS)
    code, first, _ = said()
    assert code == 0
    assert {line.split()[1] for line in first.splitlines() if line.startswith("  llmlocal ")} <= {*COMMANDS, "--help"}
    assert said("--version") == (0, f"llmlocal {__version__}\n", "")


@pytest.mark.parametrize("words", [(), ("run",), ("gguf",), ("gguf", "set"), ("alias", "ls")], ids=" ".join)
def test_help_in_all_its_spellings(said: Said, words: tuple[str, ...]) -> None:
    code, out, err = said(*words, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(" ".join(["Usage: llmlocal", *words]))
    assert said(*words, "-h") == said("help", *words) == (0, out, "")


@pytest.mark.parametrize("group", ["alias", "config", "gguf", "sessions"])
def test_group_alone_prints_its_help(said: Said, group: str) -> None:
    assert said(group) == said(group, "--help")


@pytest.mark.parametrize(
    ("arguments", "code", "start"),
    [
        (["rnu"], 2, "error: No such command 'rnu'. Did you mean 'run'?"),
        (["show"], 2, "error: Missing argument"),
        (["help", "run", "nope"], 2, "error: no command 'nope' in llmlocal run"),
        (["gguf", "nope"], 2, "error: No such command 'nope'."),
        (["run", "--no-stdin"], 2, "error: no prompt"),
        (["run", "m", "p", "--nope"], 2, "error: No such option: --nope"),
        (["run", "m", "p", "-n", "many"], 2, "error: Invalid value for '-n'"),
        (["run", "m", "p", "--temp", "-1"], 2, "error: temperature is -1.0: must be 0 or more"),
        (["run", "m", "--no-stdin"], 2, "error: no prompt"),
        (["run", "m", "-", "--no-stdin"], 2, "error: - reads stdin"),
        (["run", "no such file", "p"], 3, "error: no such file: no such file"),
        (["run", "\x1b[2J\n", "p"], 3, "error: \\x1b[2J\\n: no such file"),
        (["run", "/", "p"], 5, "error: /: is a directory"),
        (["bench", "no such file"], 3, "error: no such file: no such file"),
        (["bench", "m", "-p", "0", "-n", "0"], 2, "error: nothing to measure"),
    ],
)
def test_mistakes_are_told_in_one_line(said: Said, arguments: list[str], code: int, start: str) -> None:
    got, out, err = said(*arguments)
    first, *more = err.splitlines()
    assert (got, out) == (code, "")
    assert first.startswith(start)
    assert len(more) <= 1
    assert all(line.startswith("hint: ") for line in more)


def test_a_file_whose_name_looks_like_an_option(
    said: Said, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "-x.gguf").symlink_to(story)
    monkeypatch.chdir(tmp_path)
    assert said("show", "-x.gguf") == (2, "", "error: No such option: -x\nhint: for the file of this name: ./-x.gguf\n")
    assert said("show", "./-x.gguf")[0] == 0
    assert said("show", "-y.gguf")[2].endswith("hint: llmlocal show --help\n")


@pytest.mark.parametrize("words", [["-t", str(10**30)], ["-c", str(10**400)], ["-t", "0"]], ids=lambda words: words[0])
def test_counts_that_no_machine_has(said: Said, words: list[str]) -> None:
    code, out, err = said("run", "m", "p", *words)
    assert (code, out) == (2, "") and err.startswith(f"error: Invalid value for '{words[0]}' / ")


def test_an_extension_module_without_memory(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the interpreter says it under `ulimit -v 150000`."""

    def fail(*_: object, **__: object) -> None:
        raise SystemError("error return without exception set")

    monkeypatch.setattr("llmlocal.generation.session.Session.open", fail)
    code, out, err = said("run", "m", "p")
    assert (code, out) == (6, "") and err.startswith("error: not enough memory\n")


def test_what_is_nested_too_deeply(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(*_: object, **__: object) -> None:
        deep()

    monkeypatch.setattr("llmlocal.generation.session.Session.open", deep)
    code, out, err = said("run", "m", "p")
    assert (code, out) == (5, "") and err.startswith("error: what was read is nested too deeply\n")


def test_our_own_mistakes(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("llmlocal.generation.session.Session.open", fail)
    code, out, err = said("run", "m", "p")
    assert (code, out) == (70, "")
    assert err == "error: internal: RuntimeError: two\\nlines\nhint: set LLMLOCAL_DEBUG=1 for the traceback\n"
    monkeypatch.setenv("LLMLOCAL_DEBUG", "1")
    assert said("run", "m", "p")[2].startswith("Traceback")


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_file_is_refused_at_once(said: Said, malformed: dict[str, Path], name: str) -> None:
    code, out, err = said("run", malformed[name], "x", "-n", "4", "--temp", "0")
    lines = [line for line in err.splitlines() if not line.startswith(("compiling", "hint: ", NOTE[:-1]))]
    assert (code, out, len(lines)) == (5, "", 1)
    assert lines[0].startswith("error: ")
    assert "internal" not in lines[0]
    if name != "M48":  # a weight that is not a number is found by running the model, so kernels may be compiled
        assert "compiling" not in err
    else:
        assert "blk.0.attn_q.weight" in lines[0]


@pytest.mark.parametrize("name", [*TEMPLATES, "M55", "V5", "V6"])
def test_odd_file_runs(said: Said, malformed: dict[str, Path], name: str) -> None:
    code, out, err = said("run", malformed[name], "x", "-n", "4", "--temp", "0", "-q", "--raw")
    assert (code, err) == (0, "")
    assert out


@pytest.mark.parametrize("name", ["M01", "M40", "M46", "M54"])
def test_malformed_file_in_a_process_of_its_own(malformed: dict[str, Path], name: str) -> None:
    out = forked.run([*PROGRAM, "run", malformed[name], "x"], text=True)
    assert (out.returncode, out.stdout) == (5, "")
    lines = [line for line in out.stderr.splitlines() if not line.startswith("hint: ") and line != NOTE[:-1]]
    assert len(lines) == 1


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names are Unicode there")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["path"], []),
        (["show"], ["--json"]),
        (["tokenize"], ["a", "--no-stdin"]),
        (["gguf", "set"], ["general.name", "x", "--in-place"]),
        (["gguf", "hash"], []),
        (["gguf", "diff"], ["{}"]),
        (["run"], ["a", "-n", "1", "--raw", "--json", "--no-stdin"]),
    ],
    ids=lambda words: words[0] if words else "",
)
def test_names_that_are_not_utf8(before: list[str], after: list[str], said: Said, story: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    path.write_bytes(story.read_bytes())
    code, _, err = said(*before, path, *(word.replace("{}", str(path)) for word in after))
    assert code == 0 and "error" not in err


def test_an_alias_cannot_hold_a_name_that_is_not_utf8(said: Said, story: Path, tmp_path: Path, store: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    path.write_bytes(story.read_bytes())
    code, _, err = said("alias", "set", "cafe", path)
    assert code == 2 and "is not UTF-8: an alias cannot be stored for it" in err


# ---- prompts ------------------------------------------------------------------------------------------------------


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
    assert said("run", "m", *arguments) == (0, "", f"{NOTE}the model answered nothing\n")
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


def start(*arguments: str | Path, **more: Any) -> forked.Process:
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return forked.start([*PROGRAM, *map(str, arguments)], **streams | more)


# ---- answers ------------------------------------------------------------------------------------------------------


def test_answer_alone_on_stdout(said: Said, scripted: Any) -> None:
    scripted(word("▁a"), word("d"), EOS)
    assert said("run", "m", "de") == (0, " ad\n", NOTE)


def test_verbose_and_quiet(said: Said, scripted: Any) -> None:
    scripted(word("d"))
    code, out, err = said("run", "m", "de", "-n", "3", "-v", "--seed", "5")
    assert (code, out) == (0, "ddd\n")
    assert "prompt: 4 tokens, " in err
    assert "answer: 3 tokens, " in err
    assert err.endswith(", reached the token limit; seed 5\n")
    scripted(word("d"), n_ctx=5)
    assert "context is full" in said("run", "m", "de")[2]
    scripted(word("d"), n_ctx=5)
    assert said("run", "m", "de", "-q")[2] == ""


def test_stop_and_prompt_too_long(said: Said, scripted: Any) -> None:
    scripted(word("d"), word("e"))
    assert said("run", "m", "d", "--stop", "x", "--stop", "ed") == (0, "d\n", NOTE)
    scripted(word("d"), n_ctx=4)
    code, out, err = said("run", "m", "dddd", "-n", "10", "--raw")
    assert (code, out) == (7, "")
    first, hint = err.splitlines()
    assert first == "error: the prompt is 6 tokens, 2 more than the context of 4"
    middle = r"; or leave out its middle \(--overflow middle\)"
    assert re.fullmatch(rf"hint: use --ctx 16, which takes \S+ \w+ of memory{middle}", hint)


class Terminal(TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self) -> None:
        super().__init__(BytesIO(), "utf-8", write_through=True)

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        assert isinstance(self.buffer, BytesIO)
        return self.buffer.getvalue().decode()


def test_compile_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", tty := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with terminal.Screen() as screen:
        screen.compiling(Progress("gemm"))
        screen.compiling(Progress("x" * 500))
    *lines, erased = tty.text().split("\r")
    assert "compiling gemm" in lines[1]
    assert len(lines[2]) < 90
    assert erased == "\x1b[K"
    monkeypatch.setenv("TERM", "dumb")
    begun = len(tty.text())
    with terminal.Screen() as screen:
        screen.compiling(Progress("gemm", 0, 2))
        screen.compiling(Progress("gemv", 1, 2))
    assert tty.text()[begun:].count("\n") <= 1  # words alone, once


@pytest.mark.parametrize(
    ("seconds", "left"), [(None, ""), (0.0, ", about 1 s"), (7.4, ", about 7 s"), (18.0, ", about 20 s")]
)
def test_compiling_in_words(seconds: float | None, left: str) -> None:
    progress = Progress("gemm", 4, 12, seconds)
    assert terminal.compiling_label(progress) == f"first run: compiling 5 of 12{left}"
    assert terminal.compiling_label(progress, first=False) == f"compiling 5 of 12{left}"


def test_a_line_that_moves_while_kernels_compile_and_then_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", tty := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with terminal.Screen() as screen:
        screen.busy("loading the model")
        screen.compiling(Progress("gemm", 0, 2, 3.0))
        _until(lambda: tty.text().count("compiling 1 of 2, about 3 s") > 2)
        screen.compiling(Progress("", 2, 2))
        begun = len(tty.text())
        _until(lambda: "loading the model" in tty.text()[begun:])
    assert tty.text().endswith("\r\x1b[K")


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    assert done()


@pytest.mark.parametrize(("name", "value"), [("TERM", "xterm"), ("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setattr(sys, "stderr", tty := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    terminal.report(LlmlocalError("a\x1bb", "c"), None)
    error = "\x1b[31merror:\x1b[0m" if value == "xterm" else "error:"
    assert tty.text() == f"{error} a\\x1bb\nhint: c\n"


# ---- pipes and signals, on a trained model ------------------------------------------------------------------------


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


# ---- closed and full streams, no home -----------------------------------------------------------------------------


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


def test_no_home(said: Said, scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in list(os.environ):
        if name == "HOME" or name.startswith("XDG_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    scripted(word("d"))
    assert said("run", "m", "d", "-n", "1", "--raw", "-q", "--no-stdin") == (0, "d", "")
    for command in (
        ["list"],
        ["sessions", "ls"],
        ["alias", "ls"],
        ["prune"],
        ["list", "--available"],
        ["ls"],
        ["sessions", "list"],
    ):
        assert said(*command)[0] == 0
    assert said("sessions", "show", "x")[0] == said("path", "x")[0] == 3


def test_warnings_of_libraries_stay_away_from_users() -> None:
    code = "import sys, numpy as np; from llmlocal.cli.main import main; sys.argv[1:] = ['--version']; main()"
    code += "; np.add.reduce(np.full(9, 3e38, np.float32))"
    for debug, said in (("", 0), ("1", 1)):
        environment = os.environ | {"LLMLOCAL_DEBUG": debug}
        out = subprocess.run(
            [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment, check=True
        )
        assert out.stderr.count("RuntimeWarning") == said


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["run"], ["path"], ["rm"], ["verify"], ["alias", "set", "a"], ["gguf", "hash"], ["run", "m", "-f"]],
    ids=" ".join,
)
def test_names_that_no_file_can_have(said: Said, arguments: list[str]) -> None:
    for name in ("x" * 300, "a/" * 3000):
        code, out, err = said(*arguments, name)
        assert (code in (2, 3, 5), out) == (True, ""), err
        assert len(err.splitlines()) <= 2


def test_a_failure_of_json_is_an_object(said: Said) -> None:
    for arguments, exit_code in (
        (["show", "/no such"], 3),
        (["sessions", "ls", "--nonsense"], 2),
        (["run", "--ctx", "x"], 2),
    ):
        code, out, err = said(*arguments, "--json")
        got = json.loads(out)
        assert code == got["error"]["exit_code"] == exit_code
        assert err.startswith(f"error: {got['error']['message']}\n")
        assert set(got) == {"schema", "error"} and set(got["error"]) == {"message", "hint", "exit_code"}
    assert said("show", "/no such", "--", "--json")[1] == ""
