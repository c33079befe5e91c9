"""The program as people and pipes see it: help, mistakes, refused files, answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
from scripted import EOS, word
from started import PROGRAM

from llmlocal import __version__
from llmlocal.cli.main import COMMANDS
from llmlocal.cli.ui import terminal

TEMPLATES = ("M50", "M51")  # hostile chat templates, which a raw prompt never meets
NOTE = "the model has no chat template: it continues the plain text (--template NAME wraps it)\n"
REFUSED = [f"M{n:02}" for n in range(1, 55) if n != 41]  # M41 runs: the special id that lies outside is not needed
Said = Callable[..., tuple[int, str, str]]


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
        (["run", "m", "p", "-n", "many"], 2, "error: -n / --max-tokens is 'many': must be"),
        (["run", "m", "p", "--temp", "-1"], 2, "error: temperature is -1.0: must be 0 or more"),
        (["run", "m", "--no-stdin"], 2, "error: no prompt"),
        (["run", "m", "-", "--no-stdin"], 2, "error: - reads stdin"),
        (["run", "no such file", "p"], 3, "error: no such file: no such file"),
        (["run", "\x1b[2J\n", "p"], 3, "error: \\x1b[2J\\n: no such file"),
        (["run", "/", "p"], 5, "error: /: is a folder, not a GGUF file"),
        (["bench", "no such file"], 3, "error: no such file: no such file"),
        (["run", "", "p"], 2, "error: MODEL is an empty text"),
        (["serve", ""], 2, "error: MODEL... is an empty text"),
        (["pull", ""], 2, "error: MODEL... is an empty text"),
        (["run", "m", "p", "-o", ""], 2, "error: -o is an empty text"),
        (["run", "what", "are", "you"], 2, "error: Got unexpected extra argument"),
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


def test_a_text_without_quotes_is_told_to_need_them(said: Said) -> None:
    err = said("run", "what", "are", "you")[2]
    assert 'hint: a text of several words is one argument in quotes: llmlocal run "what can you do?"' in err
    assert said("show", "a", "b", "c")[2].endswith("hint: llmlocal show --help\n")


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
    assert (code, out) == (2, "") and err.startswith(f"error: {words[0]} / ")


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


def test_an_instruction_set_that_the_cpu_lacks(story: Path) -> None:
    """In a process of its own: the choice holds for the whole of it."""
    command = [*PROGRAM, "run", str(story), "a", "--no-stdin"]
    found = subprocess.run(command, env={**os.environ, "LLMLOCAL_ISA": "z80"}, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (2, "")
    assert "error: LLMLOCAL_ISA=z80: this CPU offers" in found.stderr and "unset LLMLOCAL_ISA" in found.stderr


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


@pytest.mark.parametrize("words", [("alias", "ls"), ("sessions", "ls"), ("verify",), ("config", "list")], ids=" ".join)
def test_an_empty_list_is_said_to_a_person(words: tuple[str, ...], said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(*words) == (0, "", "")
    told: list[str] = []
    monkeypatch.setattr(terminal, "tell_person", told.append)
    assert said(*words) == (0, "", "") and len(told) == 1 and "llmlocal " in told[0]


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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ps"], "hint: nothing runs in the background; the models on this machine: llmlocal list"),
        (["models"], "hint: llmlocal list"),
        (["-v"], "hint: llmlocal --version"),
        (["how do I get a model?"], 'hint: a question is asked by llmlocal run "what can you do?"'),
        (["-m", "a.gguf", "hi"], "hint: the model is the first argument: llmlocal run MODEL PROMPT"),
        (["run", "--model", "a.gguf", "hi"], "hint: the model is the first argument: llmlocal run MODEL PROMPT"),
        (["nothing"], "hint: llmlocal --help"),
        (["run", "a.gguf", "-V"], "hint: llmlocal run --help"),
        (["run", "a.gguf", "--seed", "x"], "error: --seed is 'x': must be a whole number"),
        (["run", "a.gguf", "-n", "1e3"], "error: -n / --max-tokens is '1e3': must be a whole number"),
        (["run", "a.gguf", "-n", "-1"], "error: -n / --max-tokens is -1: must be 0 or more"),
        (["run", "a.gguf", "--temp", "x"], "error: --temp is 'x': must be a number"),
        (["serve", "a.gguf", "--port", "65536"], "error: --port is 65536: must be between 0 and 65535"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_are_told_plainly(said: Said, words: list[str], told: str) -> None:
    """Habits from other programs for models, and numbers that are none."""
    code, out, err = said(*words)
    assert (code, out) == (2, "") and told in err.splitlines()
