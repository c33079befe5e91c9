"""`chat` without a terminal: a line a turn, the answers alone on stdout, exit codes for scripts. And what it saves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import forked
import pytest
from terminals import CHATTING, PROGRAM

from llmlocal.chat.tools import load
from llmlocal.chat_format.tool_calls import Call
from llmlocal.cli.chat.function_calls import FunctionCaller
from llmlocal.cli.ui.answer import AnswerScreen
from llmlocal.cli.views.calls import Functions, call_lines
from llmlocal.engine import Engine
from llmlocal.generation.events import Finished
from llmlocal.generation.sampling_defaults import parameter, sampling
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.quant.kernels.matmul import TILED_TOKENS

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")

Chatter = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def talk(tmp_path: Path) -> Chatter:
    """Runs a chat with a scripted model: lines in, all that comes out."""

    def run(lines: Sequence[str], answers: list[str], *options: str | Path, **script: Any) -> Any:
        (tmp_path / "script.json").write_text(json.dumps({"answers": answers, **script}))
        more = () if "template" in script else ("--template", "chatml")
        command = [sys.executable, CHATTING, tmp_path / "script.json", "chat", "m", *more, *options]
        homes = {name: str(tmp_path) for name in ("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
        text = "".join(f"{line}\n" for line in lines)
        environment = os.environ | homes
        return forked.run(command, input=text, text=True, env=environment)

    return run


def saved(tmp_path: Path) -> list[dict[str, Any]]:
    (path,) = (tmp_path / "llmlocal" / "sessions").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_a_turn_and_only_answers_on_stdout(talk: Chatter, tmp_path: Path) -> None:
    out = talk(["one", "", "two"], ["**first**", "\x1b[2Jsecond\n"])
    assert (out.returncode, out.stdout, out.stderr) == (0, "**first**\n\x1b[2Jsecond\n", "")
    assert [record["type"] for record in saved(tmp_path)[1:]] == ["turn", "turn"]
    assert not (tmp_path / "llmlocal" / "history").exists()


def test_thoughts_go_to_stderr(talk: Chatter) -> None:
    out = talk(["one"], ["<think>hm</think>yes"])
    assert (out.stdout, out.stderr) == ("yes\n", "thinking:\nhm\n\n")
    out = talk(["one"], ["<think>hm</think>yes"], "--thoughts", "hide")
    assert (out.stdout, out.stderr) == ("yes\n", "")


def test_commands(talk: Chatter, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("some notes")
    lines = [
        "/help", "/system Be brief.", "/system", "/set temp 0.5", "/set", "/set max_tokens 3", "hello", "/stats",
        "/context", "/undo", "/undo", f"/read {tmp_path}/notes.txt what?", "/retry", f"/save {tmp_path}/o.md",
        f"/save {tmp_path}/o.json", "//text with a slash", "/model", "/clear", "/context", "/exit", "never",
    ]  # fmt: skip
    out = talk(lines, ["abcdef"], "--commands")
    assert (out.returncode, out.stdout) == (0, "abc\n" * 4)
    for words in ("/undo", "Be brief.", "temperature 0.5", "reached the token limit", "the model sees 1 turn\n", "m"):
        assert words in out.stderr
    assert "(removed the last turn)\n(there is no turn to remove)\n" in out.stderr
    assert "0 of 4096 tokens (0%); the model sees 0 turns" in out.stderr
    text = (tmp_path / "o.md").read_text()
    assert text.startswith("## System\n\nBe brief.\n\n## You\n\n<file name=")
    assert "some notes\n</file>\n\nwhat?\n\n## Model\n\nabc" in text
    assert [m["role"] for m in json.loads((tmp_path / "o.json").read_text())["messages"]] == [
        "system", "user", "assistant",
    ]  # fmt: skip
    turns = [record for record in saved(tmp_path) if record.get("type") == "turn"]
    assert turns[-1]["messages"][0]["content"] == "/text with a slash"
    assert saved(tmp_path)[-1]["type"] == "clear"


def test_nothing_stays_of_a_chat_whose_turns_were_all_taken_back(talk: Chatter, tmp_path: Path) -> None:
    """Unless its name is the user's, or something else was done to it last."""
    folder = tmp_path / "llmlocal" / "sessions"
    assert talk(["one", "two", "/undo", "/undo"], ["x"], "--commands").returncode == 0
    assert not list(folder.iterdir())
    talk(["one", "/undo", "two"], ["x"], "--commands")
    assert [record["type"] for record in saved(tmp_path)[1:]] == ["turn", "undo", "turn"]
    (file,) = folder.iterdir()
    talk(["/undo", f"/load {file.name[:15]}"], ["x"], "--commands", "--continue")  # the model sees what was loaded
    assert not list(folder.iterdir())
    talk(["one", "/undo"], ["x"], "--commands", "--session", "mine")
    assert saved(tmp_path)[-1]["type"] == "undo"


def test_no_line_of_a_pipe_is_a_command(talk: Chatter, tmp_path: Path) -> None:
    lines = [f"/save {tmp_path}/o.md", "/exit", "// a comment", "/usr/bin", "/edit", "/model other"]
    out = talk(lines, ["x"])
    assert (out.returncode, out.stdout) == (0, "x\n" * 6)
    assert out.stderr == "a line that begins with / was sent as text; --commands runs such lines as commands\n"
    assert not (tmp_path / "o.md").exists()
    turns = [record for record in saved(tmp_path) if record.get("type") == "turn"]
    assert [turn["messages"][0]["content"] for turn in turns] == lines


def test_quiet(talk: Chatter) -> None:
    out = talk(["/help", "hi"], ["<think>hm</think>x"], "-q", "--no-save")
    assert (out.returncode, out.stdout, out.stderr) == (0, "x\nx\n", "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/nonsense", "no command /nonsense"),
        ("/contxt", "did you mean /context?"),
        ("/set nothing 3", "no parameter nothing"),
        ("/set top_k many", "must be a whole number"),
        ("/set temp -1", "temperature is -1.0: must be 0 or more"),
        ("/read", "/read needs a file"),
        ("/read /nowhere/x", "no such file"),
        ("/think loud", "must be on, off, auto"),
        ("/retry", "no answer to try again"),
        ("/copy", "no answer"),
    ],
)
def test_mistakes_end_a_script(talk: Chatter, line: str, words: str) -> None:
    out = talk([line, "never"], ["x"], "--commands")
    assert (out.returncode in (2, 3), out.stdout) == (True, "")
    assert words in out.stderr
    assert len(out.stderr.splitlines()) <= 2


def test_full_context_ends_a_script_or_goes_on_as_it_was_told(talk: Chatter, tmp_path: Path) -> None:
    lines, answers = ["question"] * 6, ["long " * 20]
    out = talk(lines, answers, n_ctx=420)
    assert out.returncode == 7
    assert out.stdout.count("long long") >= 2
    assert "leaves no room for an answer" in out.stderr
    assert out.stderr.splitlines()[-1].endswith("or with --context-end drop or summarize")
    assert "/clear" not in out.stderr
    for end in ("drop", "summarize", "stop"):
        out = talk(["long " * 200], answers, "--context-end", end, n_ctx=420)
        assert (out.returncode, out.stderr.count("--context-end")) == (7, 0)
        assert re.fullmatch(r"hint: shorten the question, or start with --ctx \d+", out.stderr.splitlines()[-1])
    out = talk(lines, answers, "--context-end", "drop", n_ctx=420)
    assert (out.returncode, out.stdout.count("\n")) == (0, 6)
    assert "the model no longer sees the " in out.stderr


def test_continue_needs_something(talk: Chatter, tmp_path: Path) -> None:
    assert talk([], ["x"], "--continue").returncode == 3
    assert talk(["a"], ["x"], "--session", "mine").returncode == 0
    out = talk(["b", "/context"], ["y"], "--session", "mine", "--commands")
    assert "the model sees 2 turns" in out.stderr
    assert [record["type"] for record in saved(tmp_path)[1:]] == ["turn", "turn"]
    assert talk([], ["x"], "--session", "../x").returncode == 2
    assert talk([], ["x"], "--session", "mine", "--continue").returncode == 2


def test_a_damaged_session_is_not_gone_on_with(talk: Chatter, tmp_path: Path) -> None:
    folder = tmp_path / "llmlocal" / "sessions"
    folder.mkdir(parents=True)
    (folder / "bad.jsonl").write_text("nonsense\n")
    out = talk(["a"], ["x"], "--session", "bad")
    assert (out.returncode, out.stdout) == (5, "")
    assert (folder / "bad.jsonl").read_text() == "nonsense\n"


def test_base_model_cannot_chat(story: Path) -> None:
    out = forked.run([*PROGRAM, "chat", story], input="hi\n", text=True)
    assert (out.returncode, out.stdout) == (2, "")
    assert "no chat template" in out.stderr


def test_interrupt_of_a_script_leaves(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text(json.dumps({"answers": ["word " * 99], "delay": 0.05}))
    command = [sys.executable, CHATTING, tmp_path / "script.json", "chat", "m", "--template", "chatml", "--no-save"]
    with forked.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"hi\n")
        process.stdin.flush()
        assert process.stdout.read(5) == b"word "
        for _ in range(40):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
            if process.poll() is not None:
                break
        assert process.wait(20) in (130, -signal.SIGINT)  # the last: one more came as it was ending


# ---- tools --------------------------------------------------------------------------------------------------------

TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALLS = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}<tool_call>"
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


@pytest.mark.parametrize("how", ["ask", "never", "program"])
def test_no_function_runs_unless_it_was_allowed(talk: Chatter, tmp_path: Path, how: str) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([TOOL | {"command": ["sh", "-c", f"touch {tmp_path}/ran"]}]))
    program = f"sh -c 'cat > {tmp_path}/got; echo 42'"
    more = ["--tool-run", program if how == "program" else how]
    out = talk(["hi"], [CALL, "done"], "--tools", tmp_path / "tools.json", *more, template=CALLS)
    assert out.returncode == 0
    assert "call: f(a=1)" in out.stderr
    assert not (tmp_path / "ran").exists()
    roles = [m["role"] for m in saved(tmp_path)[1]["messages"]]
    if how == "program":
        assert json.loads((tmp_path / "got").read_text()) == {"name": "f", "arguments": {"a": 1}}
        assert out.stdout == "done\n"
        assert saved(tmp_path)[1]["messages"][2]["content"] == "42"
        assert roles == ["user", "assistant", "tool", "assistant"]
    else:
        assert roles == ["user", "assistant", "tool"]


def test_a_function_that_was_not_declared_is_not_handed_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Grammars keep models from calling one; a notation without a grammar does not."""
    how = ("sh", "-c", f"touch {tmp_path}/ran; echo 1")
    with AnswerScreen() as screen:
        caller = FunctionCaller(Functions((), how), screen, lambda *_: "yes", lambda _: "", interactive=False)
        result = caller.result(Call("rm\nrun sh? [y/n] y", {"a": 1}))
    assert result == "error: there is no function 'rm\\nrun sh? [y/n] y'"
    assert not (tmp_path / "ran").exists()
    assert capsys.readouterr().err.splitlines() == ["call: 'rm\\nrun sh? [y/n] y'(a=1)"]


def test_always_holds_for_one_function(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps([TOOL | {"name": name, "command": "echo 1"} for name in "fg"]))
    answers = iter(["no", "always", "yes"])
    with AnswerScreen(quiet=True) as screen:
        tools = load(tmp_path / "tools.json")
        caller = FunctionCaller(
            Functions(tuple(tools)), screen, lambda *_: next(answers), lambda _: "", interactive=False
        )
        assert [caller.result(Call(name, {})) for name in "fffg"] == [None, "1", "1", "1"]


@pytest.mark.parametrize(
    ("name", "arguments", "lines"),
    [
        ("f", {"a": 1, "b": "x\ny"}, ["call: f(a=1, b='x\\ny')"]),
        ("f", {"a=1)\nrun sh? ": "\x1b[2J\u202e"}, ["call: f('a=1)\\nrun sh? '='\\x1b[2J\\u202e')"]),
        ("f" * 99, {}, [f"call: {'f' * 64}… (99 characters)"]),
        ("f", {"a": "日" * 40}, ["call: f", f"    a = '{'日' * 31}", f"      {'日' * 9}'"]),
        (
            "f",
            {f"a{n}": n for n in range(40)},
            ["call: f", *(f"    a{n} = {n}" for n in range(32)), "    … and 8 more arguments"],
        ),
    ],
)
def test_a_call_cannot_draw_a_line_of_its_own(name: str, arguments: dict[str, Any], lines: list[str]) -> None:
    found = list(call_lines(name, arguments, 80))
    assert found == lines
    long = list(call_lines("f", {"a": "x" * 300}, 80))
    assert max(map(len, long)) < 80
    assert "".join(line.strip() for line in long[1:]) == f"a = '{'x' * 199}… (302 characters)"


def test_endless_calls_end(talk: Chatter, tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps(TOOL))
    out = talk(["hi"], [CALL], "--tools", tmp_path / "tools.json", "--tool-run", "echo 1", template=CALLS)
    assert out.returncode == 0
    assert "called functions 16 times" in out.stderr


# ---- sampling -----------------------------------------------------------------------------------------------------


def test_sampling_of_user_then_catalog_then_file_then_ours() -> None:
    file = {"general.sampling.temp": 0.6, "general.sampling.top_k": 20, "general.sampling.min_p": 0.0}
    got = sampling(file, {"temperature": None, "top_k": 5}, {"min_p": 0.1, "unknown": 3})
    assert (got.temperature, got.top_k, got.min_p, got.top_p) == (0.6, 5, 0.1, SamplingParams().top_p)
    wrong = {"general.sampling.temp": "hot", "general.sampling.top_k": -4, "general.sampling.top_p": 7.0}
    assert sampling(wrong, {}) == SamplingParams()
    assert parameter("top_k", "7") == 7


# ---- speed --------------------------------------------------------------------------------------------------------


def work(session: Session, prompt: Any) -> tuple[int, Finished]:
    """Tokens that an answer had to read, and its end."""
    *_, end = session.answer(prompt, max_tokens=2, sampling=SamplingParams(temperature=0))
    assert isinstance(end, Finished)
    return end.prompt_tokens - end.reused_tokens, end


def test_second_turn_reads_only_what_is_new_also_after_a_new_start(tmp_path: Path) -> None:
    """A tenth of the tokens and less: the first token is that much sooner (tools and docs have the times)."""
    from llmlocal.chat_format.prompt import Prompt
    from llmlocal.generation.prompt_cache import PromptCache

    make_model.make_model("tiny-llama", path := tmp_path / "m.gguf")
    long = [3 + i * 7 % 500 for i in range(2000)]
    for reopened in (False, True):
        with Session.open(path, n_ctx=2048) as session:
            session.cache = PromptCache(tmp_path / "cache")
            read, _ = work(session, Prompt("", long, False))
            assert read == (TILED_TOKENS if reopened else 2000)
            read, _ = work(session, Prompt("", [*long, 5, 6, 7, 8], False))
            assert read == TILED_TOKENS
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_run_twice_with_the_cache(tmp_path: Path, said: Any) -> None:
    make_model.make_model("tiny-llama", path := tmp_path / "m.gguf")
    (tmp_path / "long.txt").write_text("word and more " * 100)
    run = ["run", path, "what?", "-f", tmp_path / "long.txt", "-c", "2048", "-n", "2", "--temp", "0", "--json"]
    run += ["--no-stdin", "--template", "chatml", "--prompt-cache", tmp_path / "p.cache"]
    first, second = (json.loads(said(*run)[1]) for _ in range(2))
    assert first["text"] == second["text"]
    assert (first["cached_tokens"], second["cached_tokens"]) == (0, second["prompt_tokens"] - TILED_TOKENS)
    (tmp_path / "p.cache").write_text("my own file")
    code, out, err = said(*run)
    assert (code, json.loads(out)["error"]["exit_code"]) == (5, 5)
    assert "is not a prompt cache" in err


def turns(n: int, path: Path) -> list[tuple[int, int]]:
    """Chats `n` turns with a real engine; resident bytes and open files, taken ten times on the way."""
    from llmlocal.chat.chat import Chat, ChatSettings
    from llmlocal.chat.conversation import Conversation

    seen = []
    with Session.open(path, n_ctx=256, n_threads=1) as session:
        settings = ChatSettings(SamplingParams(seed=1), 4, template="chatml")
        chat = Chat(session, Conversation(), settings)
        for i in range(n):
            chat.conversation.begin(f"question {i}")
            if not chat.fits():
                chat.conversation.clear()
                chat.conversation.begin(f"question {i}")
            for _ in chat.reply():
                pass
            if (i + 1) % (n // 10) == 0:
                resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
                seen.append((resident, len(os.listdir("/proc/self/fd"))))
    return seen


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
@pytest.mark.parametrize("n", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_many_turns_take_no_more_memory_and_no_more_files(tmp_path: Path, n: int) -> None:
    make_model.make_model("tiny-llama", path := tmp_path / "m.gguf")
    seen = turns(n, path)
    (early, files), (late, files_late) = seen[2], seen[-1]
    assert files == files_late
    assert late - early < 4 << 20


def test_engine_says_what_it_holds(tmp_path: Path) -> None:
    make_model.make_model("tiny-llama", path := tmp_path / "m.gguf")
    engine = Engine.open(path, n_ctx=64, n_threads=1)
    try:
        engine.prefill([5, 6, 7])
        assert engine.history() == [5, 6, 7]
        assert engine.cells(2)
        engine.adopt([5, 6])
        assert engine.length() == 2
    finally:
        engine.close()
