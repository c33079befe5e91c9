"""`show`: a file in words and as JSON, whatever it is, without NumPy, and with nothing in it obeyed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import gguf
import pytest
from hf_folders import CASES, write_folder
from terminals import PROGRAM, on_terminal
from vocabularies import real, spm

from llmlocal.cli import choices
from llmlocal.cli.main import COMMANDS
from llmlocal.gguf import write_gguf
from llmlocal.gguf.model_file import OTHERS
from llmlocal.quant.format import BY_NAME
from llmlocal.quant.formats import load_all
from llmlocal.quant.tensor import QTensor

Said = Callable[..., tuple[int, str, str]]
HEAVY = {"numpy", "numba", "llvmlite", "jinja2", "rich"}


def made(path: Path, **over: Any) -> Path:
    """A file with a vocabulary, one tensor, and more metadata."""
    load_all()
    tensor = QTensor("a.weight", BY_NAME["F32"], (2, 16), memoryview(bytes(128)))
    write_gguf(path, spm("a", "b") | {"general.architecture": "none"} | over, [tensor])
    return path


def labelled(text: str) -> dict[str, str]:
    """The two columns of `show`."""
    return dict(line.split("  ", 1) for line in text.splitlines())


def test_words_first(said: Said, story: Path) -> None:
    code, out, err = said("show", story)
    told = {label: words.strip() for label, words in labelled(out).items()}
    assert (code, err) == (0, "")
    assert told == {
        "model": "stories260K",
        "file": "stories260K-Q8_0.gguf, 336 KiB, GGUF version 3",
        "architecture": "llama, supported",
        "parameters": "260 thousand (260,032)",
        "layers": "5, hidden size 64",
        "feed-forward": "size 172",
        "heads": "8, 4 for keys and values, head size 8",
        "context": "512 tokens",
        "file type": "Q8_0, 10.15 bits per weight",
        "tensors": "47: 31 Q8_0, 11 F32, 5 F16",
        "vocabulary": "512 tokens, llama (default), bos 1 <s>, eos 2 </s>, unknown 0 <unk>",
        "chat template": "none",
        "memory": told["memory"],
    }
    assert "with a context of 512 tokens: weights 322 KiB, KV cache 1.25 MiB, " in told["memory"]
    assert "with a context of 100,000 tokens" in said("show", story, "--ctx", "100000")[1]


@pytest.mark.parametrize("name", ["llama-spm", "qwen2", "bert-bge", "phi-3"])
def test_vocabulary_alone(said: Said, name: str) -> None:
    code, out, err = said("show", real(f"vocab/ggml-vocab-{name}.gguf"))
    assert (code, err) == (0, "")
    assert ", no weights in the file, so it cannot run" in out
    assert "memory" not in out


def test_unsupported_architecture_says_so(said: Said, tmp_path: Path) -> None:
    assert "none, not supported, so it cannot run" in said("show", made(tmp_path / "m.gguf"))[1]


@pytest.mark.parametrize("value", [7, ["a", "b"]])
@pytest.mark.parametrize("key", ["tokenizer.chat_template", "tokenizer.ggml.tokens", "tokenizer.ggml.pre"])
def test_values_of_a_wrong_kind(key: str, value: Any, said: Said, tmp_path: Path) -> None:
    path = made(tmp_path / "m.gguf", **{key: value})
    for more in ((), ("--kv",), ("--fit",), ("--json",)):
        code, out, err = said("show", path, *more)
        assert code == 0 and not err
    assert json.loads(out)["chat_template"] is None
    for command in (("run", "a", "-n", "1", "--no-stdin"), ("tokenize", "a"), ("bench", "-p", "2"), ("warmup",)):
        code, _, err = said(command[0], path, *command[1:])
        assert code in (0, 3, 5) and len(err.splitlines()) <= 3, err


def test_special_ids_outside_the_vocabulary_are_said(said: Said, tmp_path: Path) -> None:
    path = made(tmp_path / "m.gguf", **{"tokenizer.ggml.padding_token_id": 2**32 - 1})
    words = "tokenizer.ggml.padding_token_id is 4294967295, outside the vocabulary of 261 tokens"
    assert words in said("show", path)[1]
    assert json.loads(said("show", path, "--json")[1])["vocabulary"]["notes"] == [words]


def test_a_kv_head_count_for_each_layer_takes_the_same_memory(said: Said, tmp_path: Path) -> None:
    sizes = {"embedding_length": 64, "block_count": 5, "attention.head_count": 8, "context_length": 64}
    keys = {f"none.{key}": value for key, value in sizes.items()}
    shown = [
        said("show", made(tmp_path / f"{i}.gguf", **keys, **{"none.attention.head_count_kv": heads}), "--json")[1]
        for i, heads in enumerate((4, [4], [4] * 5))
    ]
    assert len({json.loads(text)["memory"]["cache"] for text in shown}) == 1


def test_split_model(said: Said, tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2))
    both = {"split.count": 2, "split.tensors.count": 2}
    made(first, **both, **{"split.no": 0})
    tensor = QTensor("b.weight", BY_NAME["F32"], (16,), memoryview(bytes(64)))
    write_gguf(second, both | {"split.no": 1}, [tensor])
    size = json.loads(said("show", first, "--json")[1])["n_bytes"]
    assert size == first.stat().st_size + second.stat().st_size
    assert "in 2 parts" in said("show", first)[1]
    assert said("show", second)[0] == 5


@pytest.mark.parametrize("name", [f"M{n:02}" for n in range(1, 56)] + [f"V{n}" for n in range(1, 7)])
@pytest.mark.parametrize("more", [[], ["--json"], ["--kv", "--tensors"]], ids=" ".join)
def test_malformed_and_odd_files(said: Said, malformed: dict[str, Path], name: str, more: list[str]) -> None:
    code, out, err = said("show", malformed[name], *more)
    if name == "M52" or name <= "M40":
        lines = [line for line in err.splitlines() if not line.startswith("hint: ")]
        assert (code, len(lines)) == (5, 1)
        assert json.loads(out)["error"]["exit_code"] == 5 if "--json" in more else not out
        assert lines[0].startswith("error: ")
    else:
        assert (code, err) == (0, "")
        assert all(char.isprintable() or char == "\n" for char in out)


@pytest.mark.parametrize("columns", [40, 80])
def test_hostile_name_on_a_terminal(malformed: dict[str, Path], columns: int) -> None:
    code, text = on_terminal("show", malformed["M55"], columns=columns)
    assert code == 0
    assert "\\x1b]0;pwned\\x07\\x1b[2J" in text
    assert "\x1b" not in text
    assert all(len(line) <= columns for line in text.splitlines())


@pytest.mark.parametrize("more", ["", "--kv", "--kv general.name", "--template", "--json", "--tensors"])
def test_hostile_metadata_on_a_terminal(more: str, tmp_path: Path) -> None:
    hostile = "[bold]\x1b[2J\nmodel  other\u202e\x9b"
    path = made(tmp_path / "m.gguf", **{"general.name": hostile, "tokenizer.chat_template": hostile, f"k{hostile}": 1})
    code, text = on_terminal("show", path, *more.split(), columns=40)
    assert code == 0
    assert all(char.isprintable() or char == "\n" for char in text)
    assert more != "--kv" or "\nmodel  other" not in text


def test_template_and_string_pass_a_pipe_unchanged(tmp_path: Path) -> None:
    source = "{{ a }}\n\x1b[2J\n"
    path = made(tmp_path / "m.gguf", **{"tokenizer.chat_template": source})
    for more in (["--template"], ["--kv", "tokenizer.chat_template"]):
        out = forked.run([*PROGRAM, "show", path, *more], check=True)
        assert out.stdout.decode() == source


def test_metadata(said: Said, tmp_path: Path) -> None:
    path = made(tmp_path / "m.gguf", **{"a.long": "x" * 500, "a.list": [1.5, float("nan")], "a.yes": True})
    out = said("show", path, "--kv")[1]
    assert "a.yes = true\n" in out
    assert f"a.long = {'x' * 80}… (500 characters)\n" in out
    tokens = "['<unk>', '<s>', '</s>', '<0x00>', '<0x01>', '<0x02>', …] (261 string)"
    assert f"tokenizer.ggml.tokens = {tokens}\n" in out
    assert said("show", path, "--kv", "a.long")[1] == "x" * 500 + "\n"
    assert said("show", path, "--kv", "a.list")[1] == "1.5\nnan\n"
    assert len(said("show", path, "--kv", "tokenizer.ggml.tokens")[1].splitlines()) == 261
    assert json.loads(said("show", path, "--kv", "a.list", "--json")[1])["value"] == [1.5, None]
    code, _, err = said("show", path, "--kv", "a.lomg")
    assert (code, err) == (3, "error: no key a.lomg\nhint: similar keys: a.long, a.list\n")
    assert said("show", path, "--template")[2] == "error: the file has no chat template\n"
    assert said("show", path, "a.list", "--tensors")[::2] == (
        2, "error: KEY prints one value: --template, --tensors and --fit have no effect\nhint: leave them out\n"
    )  # fmt: skip


def test_tensors(said: Said, story: Path) -> None:
    out = said("show", story, "--tensors")[1].splitlines()
    assert len(out) == 47
    assert "token_embd.weight         Q8_0     512 x 64          34 KiB" in out


def test_a_cache_in_bytes_takes_less(said: Said, story: Path) -> None:
    took = [
        json.loads(said("show", story, "--json", "--kv-type", kind)[1])["memory"]["cache"] for kind in choices.Cache
    ]
    assert 9 * took[0] == 16 * took[1]
    code, out, err = said("show", story, "--kv-type", "q3")
    assert (code, out) == (2, "") and "'q3' is not one of 'f16', 'q8_0'" in err


def test_json_is_complete(said: Said, story: Path) -> None:
    got = json.loads(said("show", story, "--json", "--ctx", "64")[1])
    assert (got["schema"], got["architecture"], got["supported"], got["parameters"]) == (1, "llama", True, 260032)
    work = {name: got["memory"][name] for name in ("scratch", "program")}
    assert got["memory"] == {"n_ctx": 64, "weights": 329952, "cache": 163840, "states": 0, "windows": 0, **work}
    assert got["metadata"]["tokenizer.ggml.tokens"] == {"type": "array", "elements": "string", "length": 512}
    assert got["metadata"]["llama.block_count"] == {"type": "u32", "value": 5}
    assert len(got["tensors"]) == 47
    assert {"name": "output_norm.weight", "format": "F32", "shape": [64], "bytes": 256} in got["tensors"]


def test_nothing_heavy_is_loaded(story: Path) -> None:
    """One process runs them all, and says after each what is loaded: the first that loads too much is named."""
    lines = [[command, "--help"] for command in COMMANDS]
    lines += [["show", str(story)], ["show", str(story), "--json"], ["tokenize", str(story), "a text", "--no-stdin"]]
    code = f"""
import sys
from llmlocal.cli.main import main
for line in {lines}:
    assert main(line) == 0
    loaded = {HEAVY} & {{module.split(".")[0] for module in sys.modules}}
    assert not loaded, (line, loaded)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr


def test_reader_that_leaves(story: Path) -> None:
    for arguments in (
        ["show", story, "--kv", "tokenizer.ggml.tokens"],
        ["tokenize", story, "a " * 50000, "--no-stdin"],
    ):
        with forked.start([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout and process.stderr
            process.stdout.close()
            assert process.wait(20) == 141
            assert process.stderr.read() == b""


def test_no_command_but_those_that_say_so_touches_stdin(story: Path) -> None:
    out = forked.run([*PROGRAM, "show", story], input=b"x", check=True)
    assert out.stderr == b""


def test_a_hugging_face_folder(said: Said, tmp_path: Path) -> None:
    """What convert would make of it, in the same fields as of a file."""
    folder, case = tmp_path / "tiny", next(name for name in CASES if name.startswith("llama"))
    write_folder(folder, CASES[case])
    code, out, err = said("show", folder)
    assert (code, err) == (0, "")
    assert "architecture   llama\n" in out and out.splitlines()[-1].endswith(f"llmlocal convert {folder} model.gguf")
    got = json.loads(said("show", folder, "--json")[1])
    assert (got["architecture"], got["supported"], got["path"]) == ("llama", True, str(folder))
    assert sum(got["formats"].values()) > 0 and got["parameters"] > 0 and got["vocabulary_size"] > 0
    assert said("show", folder, "general.architecture") == (0, "llama\n", "")
    assert [said("show", folder, option)[0] for option in ("--kv", "--tensors", "--fit")] == [2, 2, 2]
    assert said("show", folder, "no.such")[0] == 3
    (folder / "config.json").write_text('{"architectures": ["Nothing"]}')
    code, out, err = said("show", folder)
    assert (code, out, "'Nothing' is not supported" in err) == (5, "", True)
    assert said("show", tmp_path)[0] == 3


@pytest.mark.parametrize(
    "words", [("run", "hi"), ("tokenize", "hi"), ("embed", "hi"), ("bench",), ("quantize", "Q8_0")]
)
def test_an_importance_matrix_is_no_model(said: Said, tmp_path: Path, words: tuple[str, ...]) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, {"general.type": "imatrix"}, [])
    code, out, err = said(words[0], path, *words[1:])
    assert (code, out) == (2, "") and f"{path}: is an importance matrix, not a model\nhint: use it with " in err


def test_show_says_what_else_a_file_is(said: Said, tmp_path: Path) -> None:
    for kind in (value for name, value in vars(gguf.GGUFType).items() if name.isupper()):
        path = tmp_path / f"{kind}.gguf"
        write_gguf(path, {"general.type": kind}, [])
        code, out, _ = said("show", path)
        told = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines())
        other = OTHERS.get(kind)
        assert code == 0 and (other is None) == ("architecture" in told) == (kind is gguf.GGUFType.MODEL)
        if other is not None and kind is not gguf.GGUFType.ADAPTER:
            assert (told["holds"], told["hint"]) == (f"{other[0]}, no model", other[1])
