"""Damaged files of settings, functions, servers, benchmarks and records; see test_fuzz.

Every file is read in this process, so that a lane reads thousands in a second. The default lane of the tests draws a
few inputs of each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing import Lane, altered, contract, damaged, lane, written  # noqa: F401  a fixture
from vocabularies import spm

from llmlocal import tokenizer
from llmlocal.chat import mcp, tools
from llmlocal.cli.config.sources import Sources
from llmlocal.measure import baseline
from llmlocal.records import record


def changed(content: Any, rng: Random) -> bytes:
    """A JSON file with something hostile in it, or with damaged bytes."""
    return written(altered(content, rng)) if rng.random() < 0.8 else damaged(written(content), rng)


SETTINGS = """
temp = 0.7
stop = ["a", "b"]
template = "chatml"
quiet = true

[presets.short]
system = "be brief"
max-tokens = 9

[presets."with blank"]
top-p = 0.9
"""


def test_settings(lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """The user's config file, and its presets."""
    monkeypatch.setenv("LLMLOCAL_CONFIG", str(path := tmp_path / "config.toml"))
    values = ["nan", "-inf", "1e400", "9" * 30, "[]", "{}", '"\\u001b[2J"', "true", "1979-05-27T07:32:00Z", "[" * 300]
    for number, rng in lane("settings", 10_000):
        lines = SETTINGS.splitlines()
        at = rng.randrange(len(lines))
        lines[at] = f"{lines[at].partition('=')[0]} = {rng.choice(values)}"
        text = "\n".join(lines).encode()
        path.write_bytes(damaged(SETTINGS.encode(), rng) if rng.random() < 0.5 else text)
        with contract(number):
            sources = Sources()
            sources.preset(rng.choice(["short", "with blank"]))
            list(sources.all())


FUNCTIONS = [
    {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}, "command": ["true", "x"]},
    {"type": "function", "function": {"name": "g", "parameters": {}}, "command": "true 'x y'"},
]
SERVERS = {
    "mcpServers": {
        "a": {"command": "x", "args": ["y"], "env": {"K": "v"}, "cwd": "/", "type": "stdio"},
        "b": {"url": "https://x/mcp", "headers": {"k": "v"}},
    }
}


@pytest.mark.parametrize(("read", "content"), [(tools.load, FUNCTIONS), (mcp.servers, SERVERS)], ids=["tools", "mcp"])
def test_declared_functions(lane: Lane, tmp_path: Path, read: Callable[[Path], Any], content: Any) -> None:  # noqa: F811
    path = tmp_path / "file.json"
    for number, rng in lane(f"functions {read.__module__}", 20_000):
        path.write_bytes(changed(content, rng))
        with contract(number):
            read(path)


BENCHMARK = {
    "rows": [{"model": "m", "test": "pp8", "threads": 2, "kv_type": "f16", "tokens_per_second": 1.5}] * 2,
    "schema": 1,
}


def test_benchmarks(lane: Lane, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "before.json"
    for number, rng in lane("benchmarks", 20_000):
        path.write_bytes(changed(BENCHMARK if rng.random() < 0.7 else BENCHMARK["rows"][0], rng))  # type: ignore[index]
        with contract(number):
            baseline.read(path)


SAMPLING = {"temperature": 0.8, "seed": 7, "stages": [], "logit_bias": {"3": -1.5, "4": "-inf"}, "dry_breakers": [5]}
RECORD = {
    "schema": 1,
    "kind": "llmlocal.record",
    "model": {"path": "m.gguf", "files": [{"name": "m.gguf", "bytes": 9, "sha256": "0" * 64}]},
    "environment": {"llmlocal": "0.1.0", "isa": "avx2"},
    "settings": {"n_ctx": 64, "kv_type": "f16", "weights": "auto", "lora": [{"path": "a", "scale": 1}]},
    "prompt": {
        "text": "Hello",
        "ids": [1, 5, 6],
        "continues": True,
        "chat": False,
        "opened": False,
        "may_think": False,
        "style": {"hint": "", "opens": "<think>", "closes": "</think>", "closing": "</think>", "drops": ["x"]},
    },
    "asked": {
        "max_tokens": 9,
        "sampling": {**SAMPLING, "ban": ["the"]},
        "stop": ["x"],
        "think_budget": None,
        "grammar": {"compiled": '{"grammars": [{"lark_grammar": "start: /a+/"}]}', "json": False},
    },
    "answer": {"ids": [7, 8], "text": "wo", "finish_reason": "stop"},
}


def test_records(lane: Lane, tmp_path: Path) -> None:  # noqa: F811
    """What `replay` reads, and how it would ask."""
    path, words = tmp_path / "record.json", tokenizer.load(spm("▁the"))
    path.write_bytes(written(RECORD))
    assert record.read(path).how(words).max_tokens == 9
    for number, rng in lane("records", 5_000):
        path.write_bytes(changed(RECORD, rng))
        with contract(number):
            record.read(path).how(words)
