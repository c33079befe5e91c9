"""Damaged input of every kind: it works, or fails with one line and a documented exit code, and no library warns.

A lane draws its inputs from SEED and a number, which a failure names: `fuzzing.one(lane, number)` makes the input
again. LLMLOCAL_FUZZ is the count of inputs of each lane, LLMLOCAL_FUZZ_FROM the number of the first. Many inputs are
read fastest from a file system in memory: pytest --slow -n 0 tests/test_fuzz*.py --basetemp /dev/shm/fuzz.

Warnings are errors in all tests.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fuzzing import altered, contract, damaged, inputs, kept, models, one, written
from gguf_bytes import ARRAY, CODES, I32, STRING, U16, U32, container, entry, record
from hf_folders import CASES, write_folder
from vector_models import write_model, write_sentence_files

from llmlocal import tokenizer
from llmlocal.convert.hf_source import open_hf
from llmlocal.convert.sentencepiece import read_sentencepiece
from llmlocal.engine import Engine
from llmlocal.errors import BadFileError
from llmlocal.gguf import open_gguf, reader
from llmlocal.gguf.layout import place
from llmlocal.gguf.reader import header_size
from llmlocal.gguf.values import ALIGNMENT_KEY, TENSOR_TYPES
from llmlocal.hub import catalog, places, remote
from llmlocal.hub.variants import variants
from llmlocal.imatrix.file import load_imatrix, write_imatrix
from llmlocal.model_info.describe import describe
from llmlocal.quantize.plan import plan_conversion

Said = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.slow


# ---- files ----------------------------------------------------------------------------------------------------------


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
def test_gguf(tmp_path: Path, which: int, count: int) -> None:
    """Every change in the bytes before the tensors, which are zeros here."""
    path, whole = tmp_path / "model.gguf", models()[which]
    head = whole[: header_size(whole, len(whole))] if which else whole
    for number, rng in inputs(f"gguf {which}", count):
        changed = damaged(head, rng)
        path.write_bytes(changed)
        os.truncate(path, len(changed) + len(whole) - len(head))
        with contract(number), open_gguf(path) as gguf:
            describe(gguf)
            if which:
                tokenizer.load(gguf.metadata).encode("Hello <s> wörld")


def test_gguf_that_is_run(tmp_path: Path) -> None:
    """Metadata and tensor table damaged: everything is checked before the first kernel."""
    path, start = tmp_path / "model.gguf", models()[1].index(b"general.architecture")
    path.write_bytes(models()[1])
    with closing(Engine.open(path, n_ctx=64, n_threads=1)) as engine:
        engine.prefill([1, 2, 3])  # kernels are compiled now
    for number, rng in inputs("run", 300):
        path.write_bytes(models()[1][:start] + damaged(models()[1][start:], rng))
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
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    (tmp_path / "wrong").mkdir()
    (tmp_path / "model.gguf").write_bytes(models()[1])
    (tmp_path / "text").write_text("once upon a time there was a girl\n" * 20)
    write_folder(tmp_path / "folder", CASES["llama-yarn-biased"])
    places = {"MODEL": "model.gguf", "TEXT": "text", "FOLDER": "folder", "OUT": "out"}
    for number, file in enumerate(wrong_files(tmp_path / "wrong", models()[1])):
        words = [str(tmp_path / places[word]) if word in places else word for word in command.split()]
        kept(said, number, *(word.replace("FILE", str(file)) for word in words))
