"""Settings: what they are, which of two holds, and how they reach commands."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from scripted import EOS

from llmlocal.cli.chat.start import Limits, Start
from llmlocal.cli.config.changes import set_value, unset_value
from llmlocal.cli.config.declared import settings
from llmlocal.cli.config.setting import PREFIX, Setting
from llmlocal.cli.config.sources import Sources
from llmlocal.cli.config.variables import OWN, misspelt
from llmlocal.cli.main import COMMANDS
from llmlocal.cli.option_groups import flattened, is_setting
from llmlocal.cli.options.chats import ChatDisplay, SavedSession
from llmlocal.cli.options.engine import DecoderOptions
from llmlocal.cli.options.sampling import Sampling
from llmlocal.generation import sampling_defaults

Said = Callable[..., tuple[int, str, str]]
OTHERS = {PREFIX + name for name in OWN}
VARIABLE = re.compile(rf"{PREFIX}[A-Z_]*[A-Z]\b")
ROOT = Path(__file__).parents[1]


def declared() -> Iterator[tuple[str, Setting]]:
    """Each setting of each command."""
    for name in COMMANDS:
        found = getattr(import_module(f"llmlocal.cli.commands.{name}"), name)
        if not isinstance(found, typer.Typer):
            for parameter in inspect.signature(flattened(found)).parameters.values():
                if is_setting(parameter.annotation):
                    yield name, Setting.of(parameter.annotation, parameter.default)


def some_value(setting: Setting) -> Any:
    """A value that the setting can have."""
    special = {"samplers": "top_k,temperature", "logit-bias": ["5=-1"], "tools": "~/tools.json"}
    if setting.name in special:
        return special[setting.name]
    if issubclass(setting.kind, StrEnum):
        return [*setting.kind][-1].value
    value = {bool: True, int: 2, float: 1.0}.get(setting.kind, "text")
    return [value] if setting.many else value


def test_every_setting_of_a_command_is_known_under_one_meaning() -> None:
    """The option modules declare all of them, and an option of the same name is of the same kind in every command."""
    seen = set()
    for command, setting in declared():
        known = settings()[setting.name]
        if setting.name != "prompt-cache":  # to serve it is auto or off, without a file
            assert (setting.kind, setting.many) == (known.kind, known.many), (command, setting.name)
        seen.add(setting.name)
    assert seen == {*settings()}
    assert len(seen) > 45
    assert not {setting.variable for setting in settings().values()} & OTHERS


def test_every_variable_of_the_program_is_known() -> None:
    """The variables that the code names are settings, or among those that `misspelt` knows."""
    files = [path for part in ("cli", "llmlocal", "quant") for path in (ROOT / part).rglob("*.py")]
    named = {name for path in files for name in VARIABLE.findall(path.read_text())}
    assert named - {setting.variable for setting in settings().values()} == OTHERS


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("LLMLOCAL_CASHE", "LLMLOCAL_CACHE"),
        ("LLMLOCAL_thread", "LLMLOCAL_THREADS"),
        ("LLMLOCAL_MAXTOKENS", "LLMLOCAL_MAX_TOKENS"),
    ],
)
def test_a_misspelt_variable_is_told(name: str, near: str, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    code, _, err = said("run", "--help")
    assert (code, err) == (0, f"{name} has no effect: did you mean {near}?\n")


@pytest.mark.parametrize("name", ["LLMLOCAL_SEED", "LLMLOCAL_DEBUG", "LLMLOCAL_SOMETHING_ELSE", "LLMLOCAL_PORT"])
def test_other_variables_are_left_alone(name: str, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    assert said("run", "--help")[2] == ""


def test_settings_are_not_all_imported_for_a_variable_of_another_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLOCAL_THREADS", "2")
    monkeypatch.setattr("llmlocal.cli.config.declared.settings", lambda: pytest.fail("imports all options"))
    assert list(misspelt([])) == []


@pytest.mark.parametrize("name", ["LLMLOCAL_KV_TYPE", "LLMLOCAL_WEIGHTS"])
def test_a_variable_takes_a_choice_in_either_case(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = next(setting for setting in settings().values() if setting.variable == name)
    value = [*setting.kind][-1].value
    monkeypatch.setenv(name, value.upper())
    found = Sources().find(setting)
    assert found is not None and found.value == value and value != value.upper()


def test_every_setting_goes_into_the_file_and_out_again(file: Path) -> None:
    values = {name: some_value(setting) for name, setting in settings().items()}
    for name, value in values.items():
        set_value(name, [str(item) for item in (value if isinstance(value, list) else [value])])
    assert tomllib.loads(file.read_text()) == values
    assert {setting.name: found.value for setting, found in Sources().all()} == values
    for name in values:
        unset_value(name)
    assert file.read_text() == ""


def test_one_value_through_the_commands(said: Said, file: Path) -> None:
    assert said("config", "set", "stop", "User:", 'a "b"') == (0, "", "")
    assert said("config", "set", "no-save", "yes") == (0, "", "")
    assert said("config", "get", "stop") == (0, 'User:\na "b"\n', "")
    assert said("config", "get", "no-save") == (0, "true\n", "")
    code, out, err = said("config", "list")
    assert (code, tomllib.loads(out), err) == (0, {"stop": ["User:", 'a "b"'], "no-save": True}, "")
    assert said("config", "unset", "stop") == said("config", "unset", "no-save") == (0, "", "")
    assert file.read_text() == ""


def test_all_are_listed_with_their_meaning(said: Said, file: Path) -> None:
    code, out, err = said("config", "list", "--all")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == [*settings()]
    assert "Default: f16." in next(line for line in out.splitlines() if line.startswith("kv-type"))
    known = json.loads(said("config", "list", "--all", "--json")[1])["settings"]
    assert known["ctx"]["variable"] == "LLMLOCAL_CTX" and known["port"]["default"] == 8080


@pytest.mark.parametrize(
    ("content", "variable", "options", "seed"),
    [
        ("seed = 1", None, [], 1),
        ("seed = 1", "2", [], 2),
        ("seed = 1", "", [], 1),
        ("seed = 1\npresets.p.seed = 3", "2", [], 2),
        ("seed = 1\npresets.p.seed = 3", "2", ["--preset", "p"], 3),
        ("seed = 1\npresets.p.seed = 3", "2", ["--preset", "p", "--seed", "4"], 4),
        ("seed = 1\npresets.p.temp = 0.5", None, ["--preset", "p"], 1),
        ("", "2", ["--seed", "0"], 0),
    ],
)
def test_what_is_typed_goes_before_presets_variables_and_the_file(
    content: str,
    variable: str | None,
    options: list[str],
    seed: int,
    said: Said,
    scripted: Any,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file.write_text(content)
    if variable is not None:
        monkeypatch.setenv("LLMLOCAL_SEED", variable)
    scripted(EOS)
    code, out, _ = said("run", "m", "d", "--json", "--no-stdin", *options)
    assert code == 0 and json.loads(out)["seed"] == seed


def test_the_file_goes_before_the_catalog(
    said: Said, scripted: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmlocal.hub.catalog.recommended_sampling", lambda _: {"temperature": 0.25, "top_k": 9})
    used: list[Any] = []

    def recorded(*given: Any) -> Any:
        used.append(sampling(*given))
        return used[-1]

    sampling = sampling_defaults.sampling
    monkeypatch.setattr(sampling_defaults, "sampling", recorded)
    file.write_text("temp = 0.5\n")
    scripted(EOS)
    assert said("run", "m", "d", "--no-stdin", "-q")[0] == 0
    assert (used[0].temperature, used[0].top_k) == (0.5, 9)


def test_settings_reach_subcommands(said: Said, story: Path, file: Path) -> None:
    loud = said("gguf", "hash", story)
    file.write_text("quiet = true\n")
    assert said("gguf", "hash", story) == (0, loud[1], "")
    file.write_text("quiet = 3\n")
    assert said("gguf", "hash", story)[0] == 2


def test_lists_flags_and_choices_of_variables(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLOCAL_STOP", "a b\nc")
    monkeypatch.setenv("LLMLOCAL_NO_SAVE", "yes")
    monkeypatch.setenv("LLMLOCAL_THOUGHTS", "fold")
    sources = Sources()
    found = {setting.name: found.value for setting, found in sources.all()}
    assert found == {"stop": ["a b", "c"], "no-save": True, "thoughts": "fold"}
    assert sources.group(SavedSession).no_save and sources.group(ChatDisplay).thoughts == "fold"


def test_a_chat_that_run_opens_has_the_settings_of_chat(
    said: Said, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('no-save = true\nthoughts = "hide"\npresets.p.tool-run = "never"\n')
    opened: dict[str, Any] = {}
    monkeypatch.setattr("llmlocal.cli.commands.run.interactive", lambda: True)
    monkeypatch.setattr("llmlocal.cli.commands.chat.chat", lambda *_, **groups: opened.update(groups))
    assert said("run", file, "--preset", "p", "--wrap", "off")[0] == 0
    assert opened["saved"].no_save and opened["calls"].tool_run == "never"
    assert (opened["display"].thoughts, opened["display"].wrap) == ("hide", "off")


def test_help_says_the_built_in_defaults(said: Said, file: Path) -> None:
    before = said("run", "--help")
    file.write_text('kv-type = "q8_0"\nthink = "off"\n')
    assert said("run", "--help") == before
    file.write_text("[")
    assert said("run", "--help") == before


@pytest.mark.parametrize(
    ("content", "options", "said_of"),
    [
        ("top-k = 5", ["--mirostat", "2"], ""),
        ("top-p = 0.5", ["--samplers", "temperature"], ""),
        ("xtc-threshold = 0.2", [], ""),
        ('dry-breaker = ["x"]', [], ""),
        ("xtc-probability = 0.2", ["--xtc-threshold", "0.5"], ""),
        ('system = "Be brief."\ntemplate = "chatml"', ["--raw"], ""),
        ("", ["--xtc-threshold", "0.5"], "xtc_threshold has no effect"),
        ("mirostat = 2", ["--top-k", "5"], "top_k has no effect with mirostat"),
    ],
)
def test_a_setting_without_effect_yields_and_what_is_typed_does_not(
    content: str, options: list[str], said_of: str, said: Said, scripted: Any, file: Path
) -> None:
    file.write_text(content)
    scripted(EOS)
    code, _, err = said("run", "m", "d", "--no-stdin", "-q", *options)
    assert (code, err) == (0, "") if not said_of else (code == 2 and said_of in err)


def test_a_session_goes_before_settings_and_behind_what_is_typed(file: Path) -> None:
    from llmlocal.chat import store

    saved = store.new("m", "Its own.", settings={"temperature": 0.25, "top_k": 3, "max_tokens": 7})
    saved.append({"type": "turn", "messages": [{"role": "user", "content": "hi"}]})
    saved.close()
    sampling = Sampling(temp=0.5, top_p=0.75, top_k=9, settled=frozenset({"temp", "top_p"}))
    settled = sampling.settled_names | {"max_tokens", "system"}
    limits = Limits(5, (), "auto", None)
    start = Start(None, DecoderOptions(), "off", True, None, sampling.given(), limits, settled=settled)
    opened, conversation = start.conversation(True, None, "Of the settings.")
    assert opened is not None
    opened.close()
    assert conversation.system == "Its own."
    assert start.limits.max_tokens == 7
    assert start.given["temperature"] == 0.25 and start.given["top_p"] == 0.75 and start.given["top_k"] == 9
    assert start.conversation(False, None, "Of the settings.")[1].system == "Of the settings."
