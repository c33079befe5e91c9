"""What the program promises as a whole: quick commands stay light, every option has a test, no home is needed.

Of the other promises, pipes, signals, streams and stdin are in test_cli_streams.py, broken downloads in
test_hub_faults.py, schemas in test_output_schemas.py and test_cli_forms.py, equal tokens for all numbers of threads in
test_engine.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fed_stdin import feed
from test_help_texts import commands

Said = Callable[..., tuple[int, str, str]]
TESTS = Path(__file__).parent
QUICK = [
    ["--version"],
    ["config", "list"],
    ["config", "list", "--all"],
    ["list"],
    ["list", "--available"],
    ["alias", "ls"],
    ["sessions", "ls"],
    ["completion", "bash"],
    ["completion", "words", "run", "qw"],
]
LOADED = """
import sys
from llmlocal.cli.main import main
for arguments in {lines}:
    assert main(arguments) == 0, arguments
    heavy = {{"numpy", "numba", "llvmlite", "rich"}} & {{*sys.modules}}
    assert not heavy, (arguments, heavy)
"""


def test_quick_commands_load_nothing_heavy(story: Path, tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text('temp = 0.5\nlogit-bias = ["5=1"]\nban = ["x"]\nsamplers = "top_k"\n')
    code = LOADED.format(lines=[*QUICK, ["show", str(story)]])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "LLMLOCAL_CONFIG": str(config)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_option_has_a_test() -> None:
    """One of its names stands in a test file."""
    texts = "".join(path.read_text() for path in TESTS.glob("test_*.py"))
    used = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", texts))
    missing = [
        f"{' '.join(words)} {parameter.opts[0]}"
        for words, context in commands().items()
        for parameter in context.command.get_params(context)
        if parameter.param_type_name == "option" and not {*parameter.opts, *parameter.secondary_opts} & used
    ]
    assert not missing, "\n".join(missing)


def test_sampling_options_arrive(said: Said, story: Path, tmp_path: Path) -> None:
    """As a record says that they have."""
    record = tmp_path / "r.json"
    for words, wanted in [
        (["--mirostat", "1", "--mirostat-eta", "0.5", "--mirostat-tau", "3"], {"mirostat_eta": 0.5, "mirostat_tau": 3}),
        (["--dynatemp-range", "0.5", "--dynatemp-exponent", "2"], {"dynatemp_range": 0.5, "dynatemp_exponent": 2}),
        (["--top-n-sigma", "2.5"], {"top_n_sigma": 2.5}),
        (
            ["--dry-multiplier", "1", "--dry-allowed-length", "3", "--dry-last-n", "16"],
            {"dry_multiplier": 1, "dry_allowed_length": 3, "dry_last_n": 16},
        ),
    ]:
        run = ("run", story, "Once", "-n", "2", "--raw", "-q", "--no-stdin", "--record", record, "--force")
        assert said(*run, *words)[0] == 0
        found: dict[str, Any] = json.loads(record.read_text())["asked"]["sampling"]
        assert {name: found[name] for name in wanted} == wanted


def test_rows_of_another_format_than_their_file(said: Said, story: Path, tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("Once\nupon\n")
    out = tmp_path / "out.jsonl"
    assert said("batch", story, tmp_path / "rows", "-o", out, "--input-format", "text", "-n", "2", "-q")[0] == 0
    assert [json.loads(line)["row"] for line in out.read_text().splitlines()] == [1, 2]


def test_speeds_against_a_baseline(said: Said, story: Path, tmp_path: Path) -> None:
    bench = ("bench", story, "-p", "0", "-n", "0", "-pg", "4,2", "-r", "1", "-o", "json", "-q")
    code, out, _ = said(*bench)
    assert code == 0 and [row["test"] for row in json.loads(out)["rows"]] == ["pp4+tg2"]
    earlier = json.loads(out)
    for speed, wanted in ((1e-3, 0), (1e9, 10)):
        earlier["rows"][0]["tokens_per_second"] = speed
        (tmp_path / "b.json").write_text(json.dumps(earlier))
        assert said(*bench, "--baseline", tmp_path / "b.json", "--fail-below", "5%")[0] == wanted


@pytest.mark.slow
def test_what_limits_speed(said: Said, story: Path) -> None:
    """It measures the peaks of the machine first."""
    code, out, _ = said("bench", story, "-p", "4", "-n", "2", "-r", "1", "-o", "json", "-q", "--roofline")
    assert code == 0 and all(row["limit"] for row in json.loads(out)["rows"])


def test_a_home_that_cannot_be_written(
    said: Said, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chat answers, and warns once that it is not saved."""
    (tmp_path / "file").touch()
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "file" / name))
    feed(monkeypatch, b"Once\nupon\n")
    code, out, err = said("chat", story, "--template", "chatml", "-n", "3")
    assert code == 0 and out.strip()
    warnings = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and warnings[0].endswith("this chat is no longer saved"), err
