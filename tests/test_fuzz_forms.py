"""Hostile forms of answers, rows of batches, and what llmlocal keeps for itself; see test_fuzz.

Everything is read in this process, so that a lane reads hundreds to thousands of inputs in a second. The default lane
of the tests draws a few inputs of each.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing import Lane, altered, contract, damaged, lane, written  # noqa: F401  a fixture

from llmlocal.batch.result_file import ResultFile
from llmlocal.batch.resume import keyed, skip
from llmlocal.batch.row_prompt import FieldText, _messages, _text
from llmlocal.batch.rows import LAYOUTS, rows
from llmlocal.chat_format.tool_calls import FAMILIES, parse
from llmlocal.constraints.grammar import of_grammar, of_regex
from llmlocal.constraints.requested import of_text
from llmlocal.errors import UsageError
from llmlocal.files import content_digest
from llmlocal.hub import index
from llmlocal.quant.jit import host, kept_file
from llmlocal.speculation.cost_file import CostFile

# ---- forms of answers -----------------------------------------------------------------------------------------------

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 9, "pattern": "^[a-z]+$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150, "multipleOf": 5},
        "tags": {"type": "array", "items": {"enum": ["a", 1, None]}, "minItems": 1, "maxItems": 3},
        "when": {"type": "string", "format": "date-time"},
        "next": {"anyOf": [{"$ref": "#/$defs/point"}, {"type": "null"}]},
    },
    "required": ["name", "tags"],
    "additionalProperties": False,
    "$defs": {"point": {"type": "array", "prefixItems": [{"type": "number"}, {"const": 3}], "items": False}},
}
NAMES = ["name", "age", "tags", "when", "next", "type", "properties", "items"]
WORDS = [
    "oneOf", "allOf", "not", "if", "$ref", "#", "#/properties/name", "#/$defs/point", "http://x", "string",
    "integer", "items", "patternProperties", "minItems", "exclusiveMinimum", "format", "uuid", "nullable", "x-y",
    "const", "default",
]  # fmt: skip


def test_schemas(lane: Lane) -> None:  # noqa: F811
    for number, rng in lane("schemas", 2_000):
        schema = altered(SCHEMA, rng)
        text = written(schema).decode()
        for _ in range(rng.choice([0, 0, 1, 2])):
            text = text.replace(f'"{rng.choice(NAMES)}"', f'"{rng.choice(WORDS)}"')
            text = text.replace(f'"{rng.choice(WORDS)}"', f'"{rng.choice(WORDS)}"')
        with contract(number):
            of_text(text)


CONCISE = [
    "name", " ", "int", "str", "[", "]", "[int]", "?", ":", ",", "\n", "a|b", "|", "float", "é", "1", "x-y", "\\",
]  # fmt: skip
GBNF = [
    "root ::= ", "a ::= ", "b ::= ", "root", "a", "b", '"x"', '"\\n"', '"', "[a-z]", "[^\\x00-\\x1F]", "[", "]",
    "{2}", "{1,}", "{,3}", "{99999}", "*", "+", "?", "(", ")", "|", "\n", "# c\n", ".", " ", "\\u00e9",
    "\\U0010FFFF", "<think>", "::=", "é", "0",
]  # fmt: skip
LARK = [
    "%llguidance {}\n", "start: ", "a: ", "B: ", "a", "B", '"x"', "/a+/", "/(/", "|", "*", "+", "?", "{2,5}",
    "{99999}", "(", ")", "\n", "%json {}", '%json {"type": "string"}', "%regex {}", "<[0-9]>", "<|end|>", "[1]", "&",
    "~", "%ignore B\n", "%import x\n", "start", ":", '"', "/", "\\", "é", "lazy", "@x",
]  # fmt: skip
REGEX = [
    "a", "b", "é", ".", "*", "+", "?", "{2,5}", "{9999}", "{9999}", "(", ")", "(?:", "(?=", "(?i)", "(?P<x>", "|",
    "[", "]", "[^", "a-z", "\\d", "\\w", "\\p{L}", "\\p{Greek}", "\\x{10FFFF}", "\\1", "\\b", "^", "$", "&&", "--",
    "[[:alpha:]]", "\n",
]  # fmt: skip
FORMS: dict[str, tuple[list[str], Callable[[str], Any]]] = {
    "concise": (CONCISE, of_text),
    "gbnf": (GBNF, of_grammar),
    "lark": (LARK, of_grammar),
    "regex": (REGEX, of_regex),
}


@pytest.mark.parametrize("notation", FORMS)
def test_forms(lane: Lane, notation: str) -> None:  # noqa: F811
    """Texts of a notation's own words in any order."""
    words, make = FORMS[notation]
    for number, rng in lane(f"forms {notation}", 3_000):
        text = rng.choice(["", words[0], words[0]]) + "".join(rng.choices(words, k=rng.randrange(1, 16)))
        with contract(number):
            make(text)


# ---- tool calls -----------------------------------------------------------------------------------------------------

ARGUMENTS = [
    '{"a": 1}',
    '{"a": "x\\n"',
    "a=1, b='x'",
    '{a: <|"|>x<|"|>}',
    "<arg_key>a</arg_key><arg_value>1</arg_value>",
]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}}]


def test_calls_of_every_notation(lane: Lane) -> None:  # noqa: F811
    """Calls as families write them, with parts that are missing, doubled or another notation's."""
    forms = [family.form or family.opens + "f ARGUMENTS" + family.closes for family in FAMILIES]
    for number, rng in lane("notations", 20_000):
        body = rng.choice(forms).replace("NAME", rng.choice(["f", "g.h", "", "\x1b"]))
        for hole in ("ARGUMENTS", "PAIRS"):
            body = body.replace(hole, rng.choice(ARGUMENTS))
        if rng.random() < 0.7:
            body = damaged(body.encode(), rng).decode("utf-8", rng.choice(["replace", "surrogateescape"]))
        if rng.random() < 0.2:
            body += rng.choice(forms)
        with contract(number):
            for call in parse(body, TOOLS):
                json.dumps(call.arguments).encode()
                call.name.encode("utf-8", "surrogateescape")


# ---- batches --------------------------------------------------------------------------------------------------------

ROWS = {
    "jsonl": b'{"prompt": "a", "n": 1}\n"b"\n{"messages": [{"role": "user", "content": "hi"}]}\n\n{"prompt": null}\n',
    "csv": b'prompt,name,n\n"a ""quoted"" text",x,1\n"two\nlines",y,2\n',
    "text": "one\n\xef\xbb\xbftwo\n日本\n".encode(),
}


@pytest.mark.parametrize("layout", ROWS)
def test_rows(lane: Lane, layout: Any) -> None:  # noqa: F811
    """A bad row fails alone: what it says is a line, too."""
    assert LAYOUTS[layout] == layout
    field = FieldText("{{x}} {prompt}{name}")
    for number, rng in lane(f"rows {layout}", 20_000):
        data = damaged(ROWS[layout], rng)
        if layout == "jsonl" and rng.random() < 0.5:
            data = written(altered(json.loads(ROWS["jsonl"].split(b"\n")[2]), rng))
        with contract(number):
            for row, _ in keyed(rows(data.split(b"\n"), layout), {"model": "m"}):
                prompted(row, field, number)


def prompted(row: Any, field: FieldText, number: int) -> None:
    """What a row's prompt is made of."""
    if row.error is not None:
        assert str(row.error).isprintable(), f"#{number}: {row.error!r}"
        return
    for make in (
        lambda: field.filled(row.fields),
        lambda: _messages(row.fields.get("messages")),
        lambda: _text(row.fields),
    ):
        try:
            make()
        except UsageError as error:
            assert str(error).isprintable(), f"#{number}: {error!r}"


def test_results_that_are_gone_on_with(lane: Lane, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "out.jsonl"
    made = [*keyed(rows(ROWS["text"].split(b"\n"), "text"), {"model": "m"})]
    results = [{"row": row.number, "key": key, "seed": 7 + row.number, "text": "x"} for row, key in made]
    whole = b"".join(written(result) + b"\n" for result in results)
    for number, rng in lane("results", 10_000):
        at = rng.randrange(len(results))
        other = [*results[:at], altered(results[at], rng), *results[at + 1 :]]
        lines = b"".join(written(result) + b"\n" for result in other)
        path.write_bytes(lines if rng.random() < 0.7 else damaged(whole, rng))
        with contract(number), ResultFile(path, resume=True) as file:
            skip(iter(made), file.kept())


# ---- what llmlocal keeps for itself ---------------------------------------------------------------------------------


def test_kept_costs(lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """What cannot be believed is measured again."""
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path))
    kept = CostFile("key")
    kept.path.parent.mkdir(mode=0o700)
    for number, rng in lane("costs", 10_000):
        kept.path.write_bytes(of({"2": 1.25, "4": 2.0, "8": 3}, rng))
        kept.path.chmod(0o600)
        with contract(number):
            assert all(0 < ratio < 1000 for ratio in kept.load().measured.values())


def test_kept_digests_and_kernels(lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Only what is whole is used."""
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path))
    state = os.stat(tmp_path)
    content_digest.keep_digest(state, "ab" * 32)
    digest, kernel = content_digest._place(state), tmp_path / "kernel.o"
    kept_file.keep(kernel, b"code" * 9)
    wholes = {path: path.read_bytes() for path in (digest, kernel)}
    for number, rng in lane("digests", 20_000):
        path = rng.choice((digest, kernel))
        path.write_bytes(data := damaged(wholes[path], rng))
        path.chmod(0o600)
        with contract(number):
            known, code = content_digest.known_digest(state), kept_file.read(kernel)
            assert path is not digest or known is None or (len(known) == 64 and data.startswith(b"llmlocal"))
            assert path is not kernel or code is None or data == wholes[kernel]


def test_kept_facts_of_the_cpu(lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """What is no CPU's name with its features is asked of LLVM again."""
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path))
    monkeypatch.setattr(host, "identity", lambda: "this CPU")
    host._path().parent.mkdir(mode=0o700)
    for number, rng in lane("cpu", 10_000):
        kept_file.keep(host._path(), of(["this CPU", "znver4", {"avx2": True, "avx512f": False}], rng))
        with contract(number):
            found = host._remembered()
            assert found is None or (isinstance(found.name, str) and {*map(type, found.features.values())} <= {bool})


def test_kept_facts_of_models(lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """The index of the store is only a cache."""
    monkeypatch.setattr(index.places, "own_cache", lambda: tmp_path)
    (file := tmp_path / "model.gguf").write_bytes(b"x")
    facts = {"quant": "Q4_0", "architecture": "llama", "context": 9}
    entry = {"stamp": [1, os.stat(file).st_mtime_ns], "facts": facts}
    stored: Any = type("Stored", (), {"size": 1, "path": file, "blob": file})
    for number, rng in lane("index", 10_000):
        (tmp_path / index.FILE).write_bytes(of({"version": 1, "files": {str(file): entry}}, rng))
        with contract(number):
            kept = index._Index()
            assert set(kept.facts(stored)) <= set(index.FACTS)


def of(content: Any, rng: Random) -> bytes:
    """A JSON file with something hostile in it, or with damaged bytes."""
    return written(altered(content, rng)) if rng.random() < 0.8 else damaged(written(content), rng)
