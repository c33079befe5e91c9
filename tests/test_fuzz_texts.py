"""Damaged sessions and prompt caches, and hostile text of models; see test_fuzz."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families.converted import write_converted
from fuzzing import SEED, altered, contract, damaged, inputs, kept, models, written

from llmlocal.chat import store
from llmlocal.chat_format.chat_template import ChatTemplate
from llmlocal.chat_format.tool_calls import parse
from llmlocal.engine import Engine
from llmlocal.generation import prompt_cache
from llmlocal.generation.prompt_cache import DIGEST, LENGTH, MAGIC, PromptCache

Said = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.slow


# ---- what llmlocal keeps --------------------------------------------------------------------------------------------


def test_sessions(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path / "sessions"
    monkeypatch.setattr(store, "folder", lambda: where)
    file = store.named("one", "model", "be kind", where)
    turn = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello", "thinking": "hm"}]
    records: list[dict[str, Any]] = [{"type": "turn", "messages": turn}] * 3
    records += [{"type": "summary", "text": "short", "upto": 1}, {"type": "drop", "turns": 1}, {"type": "undo"}]
    records += [{"type": "system", "text": "be brief"}, {"type": "clear"}, {"type": "turn", "messages": turn}]
    for item in records:
        file.append(item)
    file.close()
    whole = file.path.read_bytes()
    lines = [json.loads(line) for line in whole.splitlines()]
    for number, rng in inputs("sessions", 3_000):
        if rng.random() < 0.8:
            at = rng.randrange(len(lines))
            changed = [*lines[:at], altered(lines[at], rng), *lines[at + 1 :]]
            file.path.write_bytes(b"".join(written(line) + b"\n" for line in changed))
        else:
            file.path.write_bytes(damaged(whole, rng))
        with contract(number):
            list(store.listing(where))
            store.read(file.path)
        if number % 100 == 0:
            kept(said, number, "sessions", "ls")
            kept(said, number, "sessions", "show", "one")
            kept(said, number, "sessions", "export", "one")


@pytest.mark.parametrize("kind", ["attention", "recurrent"])
def test_prompt_caches(tmp_path: Path, kind: str) -> None:
    """Damaged entries are not used; those with a right digest and a wrong header are not either."""
    path = tmp_path / "model.gguf"
    path.write_bytes(models()[1]) if kind == "attention" else write_converted("lfm2", tmp_path).rename(path)
    prompt = np.random.default_rng(SEED).integers(3, 40, 150).tolist()
    place = tmp_path / "kept"
    with closing(Engine.open(path, n_ctx=256, n_threads=1)) as engine:
        engine.prefill(prompt)
        PromptCache(place).store(engine)
        (entry,) = place.glob("*.prefix")
        whole = entry.read_bytes()
        start = len(MAGIC) + LENGTH.size
        end = start + LENGTH.unpack(whole[len(MAGIC) : start])[0]
        header = json.loads(whole[start:end])
        for number, rng in inputs(f"prompts {kind}", 3_000):
            if rng.random() < 0.5:
                changed = damaged(whole, rng)
            else:
                other = written(altered(header, rng))
                changed = MAGIC + LENGTH.pack(len(other)) + other + whole[end:-DIGEST]
                changed += blake2b(changed, digest_size=DIGEST).digest()
            entry.write_bytes(changed)
            engine.adopt(())
            with contract(number):
                n = PromptCache(place).restore(engine, prompt)
                assert n in (0, 149) and engine.length() == n
                assert n == 0 or changed == whole or prompt_cache._entry(entry).key == header["key"]  # type: ignore[union-attr]


# ---- text of models -------------------------------------------------------------------------------------------------

PIECES = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    '"',
    "'",
    ",",
    ":",
    "=",
    "<",
    ">",
    "/",
    "|",
    "\\",
    "\n",
    "`",
    "``",
    "```",
    "```json",
    "<tool_call>",
    "</tool_call>",
    "<function=",
    "</function>\n<parameter=",
    "</parameter>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<|channel|>",
    "<|message|>",
    "functions.f",
    "to=",
    '"name"',
    '"arguments"',
    '"parameters"',
    'f\n{"name":',
    "1e999",
    "-0",
    "null",
    "true",
    "None",
    "NaN",
    "0x",
    "1_0",
    "\\u0000",
    "\\ud800",
    "é",
    "日本",
    "\x00",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>\ncall:",
    "<escape>",
    "f(a=",
    "**",
    "*",
    "lambda",
    "__import__",
    'f"{x}"',
    "<｜tool▁sep｜>",
    "--",
    "#",
    "+",
    "999999999999999999999999",
    "1e5",
]
JINJA = [
    "{{",
    "}}",
    "{%",
    "%}",
    "{%-",
    "-%}",
    "{#",
    "#}",
    "for",
    "in",
    "if",
    "else",
    "elif",
    "endif",
    "endfor",
    "set",
    "endset",
    "macro",
    "endmacro",
    "call",
    "endcall",
    "filter",
    "messages",
    "message",
    "role",
    "content",
    "'user'",
    '"x"',
    "[0]",
    "[-1]",
    "['role']",
    ".content",
    ".items()",
    "|",
    "~",
    "+",
    "-",
    "*",
    "**",
    "//",
    "%",
    "==",
    "!=",
    "<",
    "is",
    "not",
    "and",
    "or",
    "defined",
    "none",
    "loop.index",
    "loop.last",
    "namespace(a=1)",
    "ns.a",
    "range(9)",
    "tojson",
    "trim",
    "join(',')",
    "length",
    "upper",
    "replace('a','b')",
    "map(attribute='role')",
    "selectattr('role','equalto','user')",
    "list",
    "first",
    "last",
    "sort",
    "unique",
    "batch(2)",
    "raise_exception('x')",
    "strftime_now('%Y')",
    "bos_token",
    "(",
    ")",
    ",",
    ":",
    ".",
    "9",
    "1e9",
    "true",
    "False",
    "'%s'",
    "'{}'",
    ".format(1)",
    ".split('a')",
    "[::-1]",
    "dict(a=1)",
    "{'a':",
    "1}",
    "include",
    "import",
    "extends",
    "block",
    "endblock",
    "raw",
    "endraw",
    "recursive",
    "cycler(1)",
    "joiner()",
    "lipsum()",
    "__class__",
]


def test_tool_calls() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}}]
    for number, rng in inputs("calls", 20_000):
        body = "".join(rng.choices(PIECES, k=rng.randrange(1, 40)))
        with contract(number):
            for call in parse(body, tools):
                assert isinstance(call.name, str) and isinstance(call.arguments, dict)
                json.dumps(call.arguments)


def test_templates() -> None:
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    whole = [
        "{% for message in messages %}{{ '<|' ~ message.role ~ '|>' ~ message['content'] | trim }}{% endfor %}",
        "{% if messages[0]['role'] == 'system' %}{{ messages[0].content }}{% endif %}{{ bos_token }}",
    ]
    for number, rng in inputs("templates", 10_000):
        if rng.random() < 0.5:
            inside = " ".join(rng.choices(JINJA, k=rng.randrange(1, 12)))
            source = rng.choice(("{{ %s }}", "{%% %s %%}", "{%% for x in %s %%}{{ x }}{%% endfor %%}", "%s")) % inside
        else:
            words = rng.choice(whole).split(" ")
            words[rng.randrange(len(words))] = rng.choice(JINJA)
            source = " ".join(words)
        with contract(number):
            ChatTemplate(source, {"bos_token": "<s>"}).render(messages)
