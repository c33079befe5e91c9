"""`tokenize` and `perplexity` as commands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import forked
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import WORDS
from terminals import PROGRAM, Screen, on_terminal
from vocabularies import golden, real, spm

from llmlocal import tokenizer as tokenizers
from llmlocal.errors import UsageError
from llmlocal.model_info.tokenization import Tokenization

Said = Callable[..., tuple[int, str, str]]


def program(*arguments: str | Path, data: bytes = b"") -> bytes:
    done: subprocess.CompletedProcess[bytes] = forked.run([*PROGRAM, *arguments], input=data, check=True)
    return done.stdout


def test_a_text_is_encoded_while_it_is_read(story: Path) -> None:
    read: list[bytes] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            read.append(b"once upon a time " * 5000)
            yield read[-1]

    found = Tokenization.open(story).encode_pieces(pieces())
    assert [next(found) for _ in range(3)] and len(read) < 3


def test_a_line_for_each_token(said: Said, story: Path) -> None:
    lines = ["     1  '<s>'", "   403  ' Once'", "   407  ' upon'", "    13  '\\n'"]
    assert said("tokenize", story, "Once upon\n", "--no-stdin") == (0, "\n".join(lines) + "\n", "")
    assert said("tokenize", story, "Once upon\n", "--ids", "--no-stdin")[1] == "1 403 407 13\n"
    assert said("tokenize", story, "Once upon\n", "--count", "--no-stdin")[1] == "4\n"
    assert said("tokenize", story, "Once upon\n", "--pieces", "--no-stdin")[1] == "'<s>'\n' Once'\n' upon'\n'\\n'\n"
    assert said("tokenize", story, "", "--count", "--no-special", "--no-stdin")[1] == "0\n"


def test_tokens_as_json(said: Said, story: Path) -> None:
    record = json.loads(said("tokenize", story, "Once\n\x00", "--json", "--no-stdin")[1])
    assert record["count"] == len(record["tokens"]) == 4
    assert record["tokens"][1] == {"id": 403, "text": " Once", "bytes": b" Once".hex()}
    record = json.loads(said("tokenize", story, "Once", "--json", "--count", "--no-stdin")[1])
    assert record["count"] == 2 and "tokens" not in record
    assert json.loads(said("tokenize", story, "1 403", "--decode", "--json", "--no-stdin")[1])["text"] == "Once"


def test_special_tokens(said: Said, story: Path) -> None:
    assert said("tokenize", story, "</s>", "--ids", "--no-stdin")[1] == "1 2\n"
    plain = said("tokenize", story, "</s>", "--ids", "--no-stdin", "--no-special")[1].split()
    assert not {"0", "1", "2"} & set(plain)


def test_one_output_at_a_time(said: Said, story: Path) -> None:
    assert said("tokenize", story, "a", "--ids", "--count", "--no-stdin")[0] == 2


def test_exact_bytes_of_stdin(story: Path) -> None:
    for data in (b"Once\n", b"a\xff\xfeb", b"\r\n\n", b"\x00 \xc3"):
        ids = program("tokenize", story, "--ids", "--no-special", data=data)
        assert program("tokenize", story, "-", "--decode", "--no-special", data=ids) == data
        assert program("tokenize", story, "--decode", data=program("tokenize", story, "-", "--ids", data=data)) == data


@pytest.mark.parametrize("text", ["x", "512", "-1", "1.0", "²", "99999999999999999999"])
def test_what_is_no_id(said: Said, story: Path, text: str) -> None:
    code, out, err = said("tokenize", story, "--decode", "--no-stdin", "--", f"1 {text}")
    assert (code, out) == (2, "")
    assert ": ids are 0 to 511\n" in err and "invalid token id " in err


def test_decode_is_safe_on_a_terminal(story: Path) -> None:
    ids = program("tokenize", story, "--ids", "--no-special", data=b"\x1b[2J")
    assert on_terminal("tokenize", story, "--decode", ids.decode(), "--no-stdin") == (0, "\\x1b[2J\n")


def test_vocabulary_alone(said: Said) -> None:
    path, pairs = golden("llama-spm")
    text, ids = pairs[-1]
    code, out, _ = said("tokenize", path, text, "--ids", "--no-special", "--no-stdin")
    assert (code, out.split()) == (0, [str(id) for id in ids])


def test_file_without_a_vocabulary(said: Said, malformed: dict[str, Path]) -> None:
    assert said("tokenize", malformed["V1"], "a", "--no-stdin")[0] == 5


@given(st.binary(max_size=30), st.booleans(), st.sampled_from(["", "<s>", "</s>", " </s>"]))
def test_decode_undoes_encode(data: bytes, special: bool, name: str) -> None:
    tokenization = Tokenization(tokenizers.load(spm(*WORDS)), special=special)
    data = b"a" * special + data + name.encode()  # a special token at the start takes the place of the space before
    ids = " ".join(str(id) for id, _ in tokenization.encode(data))
    assert tokenization.decode(ids.encode()) == data


def test_ids_may_stand_between_commas() -> None:
    tokenization = Tokenization(tokenizers.load(spm(*WORDS)))
    assert tokenization.decode(b"1, 262,263\n") == b"de"
    with pytest.raises(UsageError):
        tokenization.decode(b"1;2")


# ---- perplexity ---------------------------------------------------------------------------------------------------


def test_perplexity(said: Said, story: Path) -> None:
    expected = json.loads((story.parent / "expected.json").read_text())
    text, n_ctx = story.parent / expected["perplexity_text"], str(expected["perplexity_ctx"])
    code, out, _ = said("perplexity", story, text, "--ctx", n_ctx, "--json")
    got = json.loads(out)
    assert code == 0
    assert got["perplexity"] == pytest.approx(expected["files"][story.name]["perplexity"], rel=1e-3)
    assert (got["schema"], got["ctx"], got["tokens"]) == (1, 256, 127 * got["chunks"])
    code, out, _ = said("perplexity", story, text, "-c", n_ctx, "--chunks", "3", "-q")
    assert out.endswith("(381 tokens scored, 3 chunks of 256)\n")
    assert out.startswith("perplexity ")
    assert " ± " in out


def test_perplexity_of_too_little(said: Said, story: Path, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("Once")
    code, out, err = said("perplexity", story, tmp_path / "t")
    assert (code, out) == (2, "")
    assert "fewer than one chunk of 512" in err
    assert said("perplexity", story, tmp_path / "none")[0] == 3


def test_perplexity_shows_progress_on_a_terminal(said: Said, story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmlocal.cli.ui import terminal

    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen.slave)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal, "PATIENCE", 0)
    assert said("perplexity", story, real("text/val-60k-ascii.txt"), "-c", "64", "--chunks", "3")[0] == 0
    *lines, cleared = screen.close().decode().split("\r")
    assert any(line.startswith("chunk ") and " 2 of 3 " in line and " perplexity " in line for line in lines)
    assert cleared == "\x1b[K"
