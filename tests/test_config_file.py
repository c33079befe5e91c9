"""The config file: where it is, mistakes in it, and changes that keep its comments and order."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import EOS

from llmlocal.cli.config.config_file import ConfigFile, lines_of
from llmlocal.cli.config.listing import toml
from llmlocal.cli.config.sources import Sources

Said = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("content", "line", "message", "hint"),
    [
        ("seed = 1\ntempp = 2", 2, "no setting 'tempp'", "did you mean temp?"),
        ("top_k = 2", 1, "no setting 'top_k'", "did you mean top-k?"),
        ("nothing = 2", 1, "no setting 'nothing'", "hint: llmlocal config list --all"),
        ('\n\nthreads = "four"', 3, "threads is 'four': must be a whole number", "threads: Number of threads."),
        ("threads = true", 1, "threads is True: must be a whole number", ""),
        ("threads = 0", 1, "threads is 0: must be between 1 and 1024", ""),
        (f"threads = {10**400}", 1, f"threads is 1{'0' * 63}: must be between 1 and 1024", ""),
        (f"ctx = {10**400}", 1, f"ctx is 1{'0' * 63}: must be between 1 and", ""),
        (f"temp = {10**400}", 1, f"temp is 1{'0' * 63}: must be 0 or more", ""),
        ("port = 70000", 1, "port is 70000: must be between 0 and 65535", ""),
        ("threads = 1.5", 1, "threads is 1.5: must be a whole number", ""),
        ("temp = -1", 1, "temp is -1: must be 0 or more", "temp: Temperature"),
        ("temp = nan", 1, "temp is nan: must be 0 or more", ""),
        ('samplers = "top_k,nope"', 1, "samplers is 'top_k,nope': must be some of", ""),
        ('logit-bias = ["nope"]', 1, "logit-bias is ['nope']: must be TOKEN=VALUE", ""),
        ('think = "maybe"', 1, "think is 'maybe': must be one of auto, on, off", ""),
        ("no-save = 1", 1, "no-save is 1: must be true or false", ""),
        ('stop = "x"', 1, "stop is 'x': must be a list of texts", ""),
        ('stop = [\n "x",\n 3\n]', 4, "stop is ['x', 3]: must be a text", ""),
        ("system = 3", 1, "system is 3: must be a text", ""),
        ("presets = 3", 1, "presets must be a table of tables", ""),
        ("presets.p = 3", 1, "presets.p must be a table", ""),
        ("[presets.p]\n\ntemp = 'warm'", 3, "presets.p.temp is 'warm': must be a number", ""),
        ("[presets.p]\nhost = 1", 2, "presets.p.host is 1: must be a text", ""),
        ("[run]\ntemp = 1", 1, "no setting 'run'", ""),
        ("temp = 1\ntemp = 2", 2, "Cannot overwrite a value", "llmlocal config edit"),
        ("temp = 1\nseed", 2, "Expected '=' after a key", "llmlocal config edit"),
        ("temp = [", 1, "", "llmlocal config edit"),
        ("a = " + "[" * 2000, 0, "is too deeply nested", "llmlocal config edit"),
        ("temp = " + "9" * 5000, 0, "has a number of too many digits", "llmlocal config edit"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_file_line_and_key(
    content: str, line: int, message: str, hint: str, said: Said, file: Path
) -> None:
    file.write_text(content)
    code, out, err = said("run", "m", "d", "--no-stdin")
    first, second = err.splitlines()
    at = f":{line}" if line else ""
    assert (code, out) == (2, "")
    assert first.startswith(f"error: {file}{at}: {message}"), first
    assert hint in second


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("LLMLOCAL_THREADS", "four", "threads is 'four': must be a whole number"),
        ("LLMLOCAL_TEMP", "-1", "temp is '-1': must be 0 or more"),
        ("LLMLOCAL_NO_SAVE", "perhaps", "no-save is 'perhaps': must be true or false"),
        ("LLMLOCAL_KV_TYPE", "f64", "kv-type is 'f64': must be one of f16, q8_0"),
    ],
)
def test_a_mistake_in_a_variable_names_it(
    variable: str, text: str, message: str, said: Said, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    code, out, err = said("chat", "m", "d")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {variable}: {message}\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["get", "threads"], 3, "threads is not set"),
        (["get", "thread"], 2, "no setting 'thread'"),
        (["get", "presets.p"], 2, "'presets.p' is a preset"),
        (["get", "presets.p.temp"], 2, "no preset 'p'"),
        (["set", "threads", "0"], 2, "threads is '0': must be between 1 and 1024"),
        (["set", "threads", "1", "2"], 2, "threads is '1 2': must be one value"),
        (["set", "presets.p", "2"], 2, "'presets.p' is a preset"),
        (["set", "presets.p.q.temp", "2"], 2, "'presets.p.q.temp' is not a key"),
        (["set", "presets.ä.temp", "2"], 2, "'presets.ä.temp' is not a key"),
        (["unset", "threads"], 3, "'threads' is not set in"),
        (["unset", "presets.p"], 3, "'presets.p' is not set in"),
        (["set", "threads"], 2, "Missing argument 'VALUE...'"),
    ],
)
def test_mistakes_in_commands(words: list[str], code: int, message: str, said: Said, file: Path) -> None:
    got, out, err = said("config", *words)
    assert (got, out) == (code, "")
    assert err.startswith(f"error: {message}")
    assert file.read_text() == ""


def test_a_preset_that_is_not_there_and_one_that_goes_too_far(said: Said, scripted: Any, file: Path) -> None:
    file.write_text('[presets.coder]\nseed = 3\nport = 99\nwrap = "off"\n')
    code, _, err = said("run", "m", "d", "--preset", "codr", "--no-stdin")
    assert code == 2 and err == "error: no preset 'codr'\nhint: did you mean coder?\n"
    scripted(EOS)
    code, _, err = said("run", "m", "d", "--preset", "coder", "--no-stdin")
    assert code == 0 and "preset coder: port has no effect on llmlocal run\n" in err
    scripted(EOS)
    assert said("run", "m", "d", "--preset", "coder", "--no-stdin", "-q") == (0, "", "")


def test_changes_keep_comments_and_order(said: Said, file: Path) -> None:
    file.write_text("# mine\ntemp = 0.5  # warm\n\n[presets.a]  # one\nseed = 1\n")
    for words in (["set", "temp", "0.75"], ["set", "threads", "2"], ["set", "presets.b.stop", "x", "-y"]):
        assert said("config", *words) == (0, "", "")
    assert said("config", "unset", "presets.a.seed")[0] == 0
    text = file.read_text()
    assert "# mine\ntemp = 0.75  # warm\n" in text
    assert tomllib.loads(text) == {"temp": 0.75, "threads": 2, "presets": {"b": {"stop": ["x", "-y"]}}}
    assert said("config", "unset", "presets.b")[0] == 0
    assert tomllib.loads(file.read_text()) == {"temp": 0.75, "threads": 2}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "seed = 1",
        "seed = 1\n\n# end\n",
        "[presets.a]\nseed = 1",
        "[presets]\n[presets.a]\nseed = 1\n",
        "presets.a.seed = 1\n",
        "presets = { a = { seed = 1 } }\n",
        "[presets]\na.seed = 1\n",
        "[presets]\na = { seed = 1 }  # one\n",
        "[presets.a]\nseed = 1\n[presets.b]\nstop = [\n  'x', # y\n]\n",
    ],
)
def test_any_layout_is_changed_rightly(content: str, file: Path) -> None:
    """Or refused, with the file as it was."""
    for keys, value in [
        (("temp",), 0.5),
        (("presets", "a", "top-k"), 4),
        (("presets", "a", "seed"), None),
        (("presets", "b", "temp"), 1.5),
        (("presets", "c", "stop"), ["x"]),
        (("presets", "a"), None),
    ]:
        file.write_text(content)
        wanted = tomllib.loads(content)
        holder = wanted
        for key in keys[:-1]:
            holder = holder.setdefault(key, {})
        if value is None and keys[-1] not in holder:
            with pytest.raises(KeyError):
                ConfigFile().change(keys)
            continue
        holder.update({keys[-1]: value}) if value is not None else holder.pop(keys[-1])
        ConfigFile().change(keys, value)
        assert without_empty(tomllib.loads(file.read_text())) == without_empty(wanted)


def without_empty(table: dict[str, Any]) -> dict[str, Any]:
    held = {key: without_empty(value) if isinstance(value, dict) else value for key, value in table.items()}
    return {key: value for key, value in held.items() if value != {}}


def test_a_file_with_mistakes_can_be_changed_but_not_one_that_is_no_toml(said: Said, file: Path) -> None:
    file.write_text("tempp = 1\n")
    assert said("config", "set", "temp", "1")[0] == 0
    assert said("config", "unset", "tempp")[0] == 0
    assert tomllib.loads(file.read_text()) == {"temp": 1.0}
    file.write_text("temp = \n")
    code, _, err = said("config", "set", "temp", "1")
    assert code == 2 and err.startswith(f"error: {file}:1: ")
    assert file.read_text() == "temp = \n"


def test_where_the_file_is(said: Said, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = home / ".config" / "llmlocal" / "config.toml"
    assert said("config", "path") == (0, f"{path}\n", "")
    assert said("config", "list")[:2] == (0, "")
    monkeypatch.setenv("LLMLOCAL_CONFIG", str(tmp_path / "new" / "own.toml"))
    code, _, err = said("config", "list")
    assert code == 3 and "own.toml: no such file" in err
    assert said("config", "set", "threads", "2")[0] == 0
    assert said("config", "get", "threads") == (0, "2\n", "")


@pytest.mark.skipif(os.name == "nt", reason="the editor is sed")
def test_editing(said: Said, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("temp = 0.5\n")
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/0.5/0.75/")
    assert said("config", "edit") == (0, "", "")
    assert file.read_text() == "temp = 0.75\n"
    monkeypatch.setenv("EDITOR", "sed -i s/temp/tempp/")
    code, _, err = said("config", "edit")
    assert code == 2 and err.startswith(f"error: {file}:1: no setting 'tempp'")
    assert file.read_text() == "tempp = 0.75\n"  # what was typed is not lost
    monkeypatch.setenv("EDITOR", "false")
    assert said("config", "edit")[0] == 2
    file.unlink()
    monkeypatch.setenv("EDITOR", "true")
    assert said("config", "edit")[0] == 3 and not file.exists()


def test_origins(said: Said, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('stop = [\n  "x",\n]\ntemp = 0.5\nseed = 1\n[presets.p]\nseed = 2\n')
    monkeypatch.setenv("LLMLOCAL_SEED", "5")
    assert said("config", "list", "--origin")[1].splitlines() == [
        "seed = 5  # LLMLOCAL_SEED",
        f'stop = ["x"]  # {file}:3',
        f"temp = 0.5  # {file}:4",
        "",
        "[presets.p]",
        f"seed = 2  # {file}:7",
    ]
    record = json.loads(said("config", "list", "--json")[1])
    assert record["settings"]["seed"] == {"value": 5, "origin": "LLMLOCAL_SEED"}
    assert record["settings"]["temp"] == {"value": 0.5, "origin": f"{file}:4"}
    assert record["presets"] == {"p": {"seed": 2}} and record["path"] == str(file)


def test_lines_of_keys() -> None:
    text = 'a = """\nb = 1\n"""\n\n[t]\nc = 2\n[t."x y"]\n'
    assert lines_of(text) == {("a",): 3, ("t",): 5, ("t", "c"): 6, ("t", "x y"): 7}


def test_a_long_file_takes_linear_time() -> None:
    text = "[t]\n" + "".join(f"k{i} = {i}\n" for i in range(20_000))
    assert lines_of(text)["t", "k19999"] == 20_001


@pytest.mark.parametrize("value", ['a "b" \\ \n\t\x00\x1f é', True, 3, 0.1, 1e300, ["x", "y"]])
def test_values_are_listed_as_toml(value: object) -> None:
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}


def test_home_in_names_of_files(file: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    file.write_text('tools = "~/t.json"\ntemplate = "~/t.jinja"\nsystem = "~/"\n')
    sources = Sources()
    used = {setting.name: setting.used(found.value) for setting, found in sources.all()}
    assert used == {"tools": f"{home}/t.json", "template": f"{home}/t.jinja", "system": "~/"}


def test_a_file_that_cannot_be_read(said: Said, file: Path) -> None:
    file.write_bytes(b"system = '\xff'")
    assert said("config", "list")[0] == 5
    file.unlink()
    file.mkdir()
    code, _, err = said("config", "list")
    assert code == 5 and "cannot be read" in err
    assert ConfigFile().path == file
