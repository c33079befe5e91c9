"""`run --tools` and `--tool-choice`: calls that are run, printed or forced, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chatting import opened

Said = Callable[..., tuple[int, str, str]]
TEMPLATE = (
    "{{ tools }}{% for m in messages %}[{{ m.role }}:{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}]{% endfor %}"
)
TOOL = {
    "name": "f",
    "command": ["sh", "-c", "cat; echo"],
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}
CALL = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
LINE = '{"name": "f", "arguments": {"a": 1}}\n'


@pytest.fixture
def asked(said: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs `run` with a model that gives these answers, and a function f."""
    (tmp_path / "tools.json").write_text(json.dumps([TOOL, {"name": "g"}]))

    def ask(answers: list[str], *more: str, template: str = TEMPLATE) -> tuple[int, str, str]:
        script: dict[str, Any] = {"answers": answers, "template": template}
        monkeypatch.setattr("llmlocal.generation.session.Session.open", lambda *_, **__: opened(script))
        given = ("--tools", str(tmp_path / "tools.json"), "--no-stdin", "--temp", "0", "-q")
        return said("run", "m", "hi", *given, *more)

    return ask


def test_calls_that_are_not_run_are_printed(asked: Said) -> None:
    for how in ("ask", "never"):  # nobody is there to be asked
        assert asked([f"so: {CALL}"], "--tool-run", how) == (0, f"so: \n{LINE}", "")
    code, out, _ = asked([CALL], "--json")
    assert code == 0 and json.loads(out)["tool_calls"] == [json.loads(LINE)] and json.loads(out)["text"] == ""


def test_an_answer_goes_on_with_results(asked: Said) -> None:
    assert asked([CALL, "done"], "--tool-run", "echo 3") == (0, "done\n", "")


def test_a_call_is_forced(asked: Said) -> None:
    """Whatever the model would rather say; and once only."""
    assert asked(["no"], "--tool-choice", "g") == (0, '{"name": "g", "arguments": {}}\n', "")
    code, out, _ = asked(["1" * 200, "done"], "--tool-choice", "f", "--tool-run", "echo 3", "-n", "200")
    assert code == 8 and out.startswith('{"name": "f", "arguments": {"a": 1')
    assert asked([f"{CALL}no", "done"], "--tool-choice", "f", "--tool-run", "echo 3") == (0, "done\n", "")
    assert asked([CALL], "--tool-choice", "none") == (0, f"{CALL}\n", "")


def test_a_template_without_functions(asked: Said) -> None:
    plain = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
    code, out, err = asked(["hello"], "--show-prompt", template=plain)
    assert code == 0 and out.startswith("[system:You can call functions.") and '"name": "f"' in out and err == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tool-choice", "h"], "no function is called 'h'"),
        (["--raw"], "--raw and --tools cannot be combined"),
        (["--special"], "--special and --tools cannot be combined"),
        (["--logprobs", "3", "--json"], "--logprobs and --tools cannot be combined"),
        (["--tool-run", ""], "--tool-run is empty"),
        (["--regex", "a"], "cannot call functions"),
    ],
)
def test_what_cannot_be_combined(asked: Said, arguments: list[str], told: str) -> None:
    code, _, err = asked(["x"], *arguments)
    assert code == 2 and told in err


def test_a_choice_needs_functions(said: Said) -> None:
    code, _, err = said("run", "m", "hi", "--tool-choice", "required", "--no-stdin")
    assert code == 2 and "--tool-choice has no effect without --tools" in err
