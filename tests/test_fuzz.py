"""Damaged input of every kind: it works, or fails with one line and a documented exit code, and no library warns.

A lane draws its inputs from SEED and a number, which a failure names: `one(lane, number)` makes the input again.
LLMLOCAL_FUZZ is the count of inputs of each lane, LLMLOCAL_FUZZ_FROM the number of the first. Many inputs are read
fastest from a file system in memory: pytest --slow -n 0 tests/test_fuzz.py --basetemp /dev/shm/fuzz.

Warnings are errors in all tests.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_bytes import ARRAY, CODES, I32, STRING, U16, U32, container, entry, record, sample
from hf_folders import CASES, write_folder
from test_embed import write_model, write_sentence_files
from test_families import write_converted

from llmlocal import tokenizer
from llmlocal.chat import store
from llmlocal.chat_format.chat_template import ChatTemplate
from llmlocal.chat_format.tool_calls import parse
from llmlocal.convert.hf_source import open_hf
from llmlocal.convert.sentencepiece import read_sentencepiece
from llmlocal.engine import Engine
from llmlocal.errors import BadFileError, LlmlocalError
from llmlocal.generation import prompt_cache
from llmlocal.generation.prompt_cache import DIGEST, LENGTH, MAGIC, PromptCache
from llmlocal.gguf import open_gguf, reader
from llmlocal.gguf.layout import place
from llmlocal.gguf.reader import header_size
from llmlocal.gguf.values import ALIGNMENT_KEY, TENSOR_TYPES
from llmlocal.hub import catalog, places, remote
from llmlocal.hub.variants import variants
from llmlocal.imatrix.file import load_imatrix, write_imatrix
from llmlocal.model_info.describe import describe
from llmlocal.quantize.plan import plan_conversion

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")
Said = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.slow
SEED = 22
DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
NUMBERS = [0, -1, 1, 3, 127, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**64, 1e308, -1e308, 1e-320, 0.5]
HOSTILE: list[Any] = [
    *NUMBERS,
    *(None, True, False, "", "\ud800", "\x1b[2J", "a\nb", "x" * 5000, "../../x", [], {}, [[]], [None], {"": {}}),
    *(float("nan"), float("inf"), float("-inf"), [1] * 1000, {"type": "x"}, {"rope_type": "llama3", "factor": 1e308}),
]


def one(lane: str, number: int) -> random.Random:
    return random.Random(f"{SEED} {lane} {number}")


def inputs(lane: str, count: int) -> Iterator[tuple[int, random.Random]]:
    """Number and source of chance for each input of a lane, which usually has `count`."""
    first, count = int(os.environ.get("LLMLOCAL_FUZZ_FROM", "0")), int(os.environ.get("LLMLOCAL_FUZZ", str(count)))
    for number in range(first, first + count):
        yield number, one(lane, number)


@contextmanager
def contract(number: int) -> Iterator[None]:
    """What happens within is a success, or one line with a documented code, soon."""
    try:
        yield
    except LlmlocalError as error:
        assert str(error).isprintable(), f"#{number}: {error!r}"
        assert error.exit_code in DOCUMENTED, f"#{number}: {error!r}"
    except Exception as error:
        raise AssertionError(f"input #{number} of seed {SEED}: {type(error).__name__}: {error}") from error


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes with a few changes: bits, numbers, cuts, copies."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(changed) or 1)
        how = rng.randrange(6)
        if how == 0 and changed:
            changed[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            changed[at : at + 8] = rng.choice((0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)).to_bytes(8, "little")
        elif how == 2:
            changed[at : at + 4] = rng.randrange(2**32).to_bytes(4, "little")
        elif how == 3:
            del changed[at : at + rng.randrange(1, 64)]
        elif how == 4:
            changed[at:at] = changed[(begin := rng.randrange(len(changed) or 1)) : begin + rng.randrange(64)]
        elif rng.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def altered(value: Any, rng: random.Random) -> Any:
    """JSON with something hostile somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        how = rng.random()
        return (
            rest if how < 0.1 else {**rest, (str(rng.choice(HOSTILE)) if how < 0.15 else key): altered(value[key], rng)}
        )
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(min(len(value), 50))
        return [*value[:at], *([] if rng.random() < 0.2 else [altered(value[at], rng)]), *value[at + 1 :]]
    return rng.choice(HOSTILE)


def written(value: Any) -> bytes:
    return json.dumps(value).encode()


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("models")
    make_model.make_model("tiny-llama", folder / "model.gguf")
    return [sample(), (folder / "model.gguf").read_bytes()]


def small_headers() -> list[tuple[bytes, int]]:
    """Headers with little in each, so that most changes meet something that matters, and the sizes of their data."""
    scalars = [entry(f"scalar.{kind}", kind, 1) for kind in CODES]
    arrays = [entry(f"array.{kind}", ARRAY, (kind, [0, 1, 1])) for kind in CODES]
    texts = [entry("text", STRING, "ab\0ç"), entry("texts", ARRAY, (STRING, ["", "x", b"\xff\xfe", "日本"]))]
    parts = [entry("split.no", U16, 0), entry("split.count", U16, 2), entry("split.tensors.count", I32, 3)]
    heads = [(entries, []) for entries in (scalars[:6], scalars[6:], arrays[:5], arrays[5:], texts, parts)]
    heads += [([], [record("t", [block * 2], kind)]) for kind, (_, block, _) in TENSOR_TYPES.items()]
    heads += [([], [record("a", [8, 2]), record("b", [64], 8, 64), record("c", [8], 0, 160)])]
    heads += [([entry(ALIGNMENT_KEY, U32, 64)], [record("a", [32, 2, 1, 1], 2, 0), record("b", [1], 0, 64)])]
    return [(container(entries, records, alignment=64), 2 * 292 if records else 0) for entries, records in heads]


def test_gguf_headers() -> None:
    """A thousand damaged headers for each number, read in memory: tensors of legal ones lie apart inside the file."""
    wholes = small_headers()
    for head, size in wholes:
        opened(head + bytes(size))
    for number, rng in inputs("headers", 50):
        for _ in range(1000):
            head, size = rng.choice(wholes)
            data = damaged(head, rng) + bytes(size)
            try:
                opened(data)
            except BadFileError as error:
                assert str(error).isprintable(), f"#{number}: {error!r} {data!r}"
            except Exception as error:
                raise AssertionError(f"#{number}: {data!r}") from error


def opened(data: bytes) -> None:
    """What opening a file of these bytes checks, without the file."""
    _, alignment, records, end = reader._read_tables(memoryview(data), len(data), {})
    for first, last in place(list(records.values()), end, alignment, len(data)):
        assert end <= first <= last <= len(data) and first % alignment == 0
        end = last


@pytest.mark.parametrize(("which", "count"), [(0, 20_000), (1, 3_000)], ids=["every type", "a model"])
def test_gguf(models: list[bytes], tmp_path: Path, which: int, count: int) -> None:
    """Every change in the bytes before the tensors, which are zeros here."""
    path, whole = tmp_path / "model.gguf", models[which]
    head = whole[: header_size(whole, len(whole))] if which else whole
    for number, rng in inputs(f"gguf {which}", count):
        changed = damaged(head, rng)
        path.write_bytes(changed)
        os.truncate(path, len(changed) + len(whole) - len(head))
        with contract(number), open_gguf(path) as gguf:
            describe(gguf)
            if which:
                tokenizer.load(gguf.metadata).encode("Hello <s> wörld")


def test_gguf_that_is_run(models: list[bytes], tmp_path: Path) -> None:
    """Metadata and tensor table damaged: everything is checked before the first kernel."""
    path, start = tmp_path / "model.gguf", models[1].index(b"general.architecture")
    path.write_bytes(models[1])
    with closing(Engine.open(path, n_ctx=64, n_threads=1)) as engine:
        engine.prefill([1, 2, 3])  # kernels are compiled now
    for number, rng in inputs("run", 300):
        path.write_bytes(models[1][:start] + damaged(models[1][start:], rng))
        with contract(number), closing(Engine.open(path, n_ctx=64, n_threads=1)) as engine:
            engine.prefill([1, 2, 3])


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_json_of_folders(said: Said, tmp_path: Path, file: str) -> None:
    folder = write_folder(tmp_path / "model", CASES["llama-yarn-biased"])
    path, out = folder / file, tmp_path / "out.gguf"
    content = (
        json.loads(path.read_text()) if path.exists() else {"eos_token": "</s>", "eos_token_id": [1, 2], "top_p": 1}
    )
    assert said("convert", folder, out, "-q")[0] == 0  # kernels are compiled now
    for number, rng in inputs(file, 500):
        path.write_bytes(written(altered(content, rng)) if rng.random() < 0.9 else damaged(written(content), rng))
        converted(said, number, folder, out)


SENTENCE = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling/config.json")


@pytest.mark.parametrize("file", [*SENTENCE, "config.json", "tokenizer.json"])
def test_json_of_folders_of_encoders(said: Said, tmp_path: Path, file: str) -> None:
    write_sentence_files(write_model("bert-classifier", tmp_path))
    path, out = tmp_path / file, tmp_path / "out.gguf"
    content = json.loads(path.read_text())
    assert said("convert", tmp_path, out, "-q")[0] == 0  # kernels are compiled now
    for number, rng in inputs(f"encoder {file}", 500):
        path.write_bytes(written(altered(content, rng)) if rng.random() < 0.9 else damaged(written(content), rng))
        converted(said, number, tmp_path, out)


def test_safetensors(said: Said, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", CASES["llama-yarn-biased"])
    path, out = folder / "model.safetensors", tmp_path / "out.gguf"
    data = path.read_bytes()
    size = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:size])
    assert said("convert", folder, out, "-q")[0] == 0  # kernels are compiled now
    for number, rng in inputs("safetensors", 500):
        if rng.random() < 0.6:
            changed = written(altered(header, rng))
            path.write_bytes(len(changed).to_bytes(8, "little") + changed + data[size:])
        else:
            path.write_bytes(damaged(data[:size], rng) + data[size:])
        converted(said, number, folder, out)


def converted(said: Said, number: int, folder: Path, out: Path) -> None:
    """The contract for a folder: all that `convert` checks before it writes, and now and then the whole command."""
    if number % 20 == 0:
        kept(said, number, "convert", folder, out, "--force", "-q")
    else:
        with contract(number), open_hf(folder) as source:
            plan_conversion(source, "auto")


def test_sentencepiece(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    pieces = b"".join(
        b"\x0a" + bytes([len(piece)]) + piece
        for text, kind in [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("<0x0A>", 6), ("\u2581a", 1), ("é", 1)]
        for piece in [b"\x0a" + bytes([len(text.encode())]) + text.encode() + b"\x15\0\0\x80\xbf\x18" + bytes([kind])]
    )
    whole = pieces + b"\x12\x06\x18\x02\x20\x06\x70\x01"
    path.write_bytes(whole)
    assert len(read_sentencepiece(path).pieces) == 6
    for number, rng in inputs("sentencepiece", 10_000):
        path.write_bytes(damaged(whole, rng))
        with contract(number):
            read_sentencepiece(path)


def test_imatrix(tmp_path: Path) -> None:
    """Both forms of importance matrices."""
    new, old = tmp_path / "new.gguf", tmp_path / "old.dat"
    weights = [("blk.0.attn_q.weight", 64), ("blk.0.ffn_down.weight", 128), ("output.weight", 64)]
    data = (len(weights)).to_bytes(4, "little")
    for name, n in weights:
        data += len(name).to_bytes(4, "little") + name.encode() + (3).to_bytes(4, "little") + n.to_bytes(4, "little")
        data += np.linspace(0, 1, n, dtype=np.float32).tobytes()
    old.write_bytes(data + (7).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"text")
    write_imatrix(new, load_imatrix(old))
    wholes = {path: path.read_bytes() for path in (new, old)}
    for number, rng in inputs("imatrix", 10_000):
        path = rng.choice((new, old))
        path.write_bytes(damaged(wholes[path], rng))
        with contract(number):
            load_imatrix(path)


# ---- catalogs and answers of hubs -----------------------------------------------------------------------------------


def test_answers_of_hubs() -> None:
    """A hub's list of files, and what `pull` reads from it."""
    files = [
        {"rfilename": f"model-{quant}.gguf", "size": 10**9, "lfs": {"sha256": "0" * 64, "size": 10**9}}
        for quant in ("Q4_K_M", "Q8_0", "F16-00001-of-00002", "F16-00002-of-00002")
    ]
    answer = {
        "id": "a/b",
        "sha": "0" * 40,
        "siblings": [*files, {"rfilename": "README.md", "size": 3, "blobId": "1" * 40}],
    }
    for number, rng in inputs("hub", 20_000):
        data = written(altered(answer, rng)) if rng.random() < 0.8 else damaged(written(answer), rng)
        with contract(number):
            found = remote._parsed("a/b", data)
            siblings = found.get("siblings")
            files_of = [remote._file(sibling) for sibling in siblings] if isinstance(siblings, list) else []
            variants([file for file in files_of if file is not None])


def test_catalogs(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    whole = places.catalog().read_bytes()[:3000].rpartition(b"\n\n")[0]
    for number, rng in inputs("catalog", 10_000):
        path.write_bytes(damaged(whole, rng))
        with contract(number):
            catalog._read(path, own=True)


def kept(said: Said, number: int, *arguments: str | Path) -> None:
    """The contract for a command: a documented code, nothing or one line and a hint on stderr."""
    code, _, err = said(*arguments)
    lines = [line for line in err.splitlines() if not line.startswith("hint: ")]
    assert code in DOCUMENTED, f"#{number}: {code} {err}"
    assert (code == 0) or len([line for line in lines if line.startswith("error: ")]) == 1, f"#{number}: {err}"
    assert "Warning" not in err and "Traceback" not in err, f"#{number}: {err}"


# Each is given a wrong file in the place of FILE; MODEL is a good one, OUT a file to write.
COMMANDS = """
run FILE hi -n 1 --no-stdin
run FILE hi -n 1 --no-stdin --json --weights copy
run MODEL hi -n 1 --no-stdin -f FILE
run MODEL hi -n 1 --no-stdin --template FILE
run MODEL hi -n 1 --no-stdin --prompt-cache FILE
chat FILE hi -n 1
chat MODEL hi -n 1 --template chatml --tools FILE
show FILE
show FILE --json
tokenize FILE hi
tokenize MODEL -f FILE --ids
embed FILE hi
embed MODEL -f FILE
rerank FILE hi a b
fill FILE [MASK]
perplexity FILE TEXT
perplexity MODEL FILE
bench FILE -p 8 -n 1 -r 1
convert FILE OUT --force
convert FOLDER OUT --force --lora FILE
quantize FILE OUT Q4_0 --force
quantize MODEL OUT Q4_0 --force --requantize --imatrix FILE
imatrix FILE TEXT -o OUT --force
imatrix FILE --stats
compare FILE MODEL
compare MODEL FILE
gguf set FILE general.name x -o OUT --force
gguf set MODEL general.name @FILE -o OUT --force
gguf rename-template FILE a b -o OUT --force
gguf split FILE 100K -o OUT --force
gguf merge FILE -o OUT --force
gguf hash FILE MODEL --json
warmup FILE
path FILE
verify FILE
sessions show FILE
"""


def wrong_files(folder: Path, model: bytes) -> list[Path]:
    """What people and programs put in the place of a model, a text or a setting."""
    name, llama = entry("general.architecture", STRING, "llama"), [record("t", [32])]
    imatrix = entry("general.type", STRING, "imatrix"), entry("imatrix.datasets", ARRAY, (STRING, ["a"]))
    contents = {
        "empty": b"",
        "zeros": bytes(3000),
        "noise": one("noise", 0).randbytes(5000),
        "not-utf8.txt": b"\xff\xfe bad \x80\n" * 50,
        "screen.txt": b"\x1b[2J\x1b]0;x\x07\n" * 20,
        "deep.json": b"[" * 100_000,
        "list.json": b"[1, {}]",
        "pointer.gguf": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n",
        "cut.gguf": model[: len(model) // 2],
        "header.gguf": model[:1000],
        "nothing.gguf": container([], []),
        "bare.gguf": container([name], []),
        "other.gguf": container([entry("general.architecture", STRING, "\x1b[2J" * 9)], llama, bytes(128)),
        "bert.gguf": container([entry("general.architecture", STRING, "bert")], llama, bytes(128)),
        "imatrix.gguf": container([*imatrix], [record("t.in_sum2", [1]), record("t.counts", [1], 0, 32)], bytes(36)),
        "x-00002-of-00003.gguf": container([name, entry("split.no", U16, 1), entry("split.count", U16, 3)], []),
        "a\nb\x1b[2J.gguf": b"GGUF",
        "model.bin": b"\x80\x04}.",
        "model.safetensors": (2).to_bytes(8, "little") + b"{}",
    }
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    return [*(folder / file for file in (*contents, "folder", "loop", "missing", "x" * 300)), Path("/dev/null")]


@pytest.mark.parametrize("command", COMMANDS.split("\n")[1:-1])
def test_every_command_with_every_wrong_file(
    said: Said, models: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    (tmp_path / "wrong").mkdir()
    (tmp_path / "model.gguf").write_bytes(models[1])
    (tmp_path / "text").write_text("once upon a time there was a girl\n" * 20)
    write_folder(tmp_path / "folder", CASES["llama-yarn-biased"])
    places = {"MODEL": "model.gguf", "TEXT": "text", "FOLDER": "folder", "OUT": "out"}
    for number, file in enumerate(wrong_files(tmp_path / "wrong", models[1])):
        words = [str(tmp_path / places[word]) if word in places else word for word in command.split()]
        kept(said, number, *(word.replace("FILE", str(file)) for word in words))


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
def test_prompt_caches(models: list[bytes], tmp_path: Path, kind: str) -> None:
    """Damaged entries are not used; those with a right digest and a wrong header are not either."""
    path = tmp_path / "model.gguf"
    path.write_bytes(models[1]) if kind == "attention" else write_converted("lfm2", tmp_path).rename(path)
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
