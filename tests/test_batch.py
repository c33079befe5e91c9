"""`batch`: rows become prompts or fail alone, results come in order, and a file that was cut off is continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import forked
import pytest

from llmlocal.batch.result_file import ResultFile
from llmlocal.batch.resume import Done, first_seed, keyed, skip
from llmlocal.batch.row_prompt import FieldText
from llmlocal.batch.rows import rows
from llmlocal.batch.run import SEEDS
from llmlocal.errors import BadFileError, UsageError

Said = Callable[..., tuple[int, str, str]]
ROWS, LENGTH = 40, 12
PATIENCE = 60


def read(text: str | bytes, layout: Any) -> list[Any]:
    data = text.encode() if isinstance(text, str) else text
    return [*rows(data.split(b"\n"), layout)]


# ---- rows ----------------------------------------------------------------------------------------------------------


def test_rows_of_every_layout() -> None:
    found = read('\ufeff{"prompt": "a", "n": 1}\n\n"b"\n', "jsonl")
    assert [(row.number, row.fields) for row in found] == [(1, {"prompt": "a", "n": 1}), (2, {"prompt": "b"})]
    assert [row.fields for row in read("a\n\n{b}\n", "text")] == [{"prompt": "a"}, {"prompt": "{b}"}]
    found = read('prompt,n\n"a\nb, c",1\n\n"""d""",2\n', "csv")
    assert [row.fields for row in found] == [{"prompt": "a\nb, c", "n": "1"}, {"prompt": '"d"', "n": "2"}]


@pytest.mark.parametrize(
    ("data", "layout", "told"),
    [
        (b"{", "jsonl", "not JSON"),
        (b"[" * 100_000, "jsonl", "not JSON"),
        (b"1" * 5000, "jsonl", "not JSON"),
        (b"[1]", "jsonl", "must be an object or a string"),
        (b'{"prompt": "\xff"}', "jsonl", "not UTF-8: byte 12"),
        (b'{"prompt": "\\ud800"}', "jsonl", "half a character"),
        (b"\xff", "text", "not UTF-8"),
        (b"a,b\n1", "csv", "1 fields, and the first line names 2"),
        (b"a\n\xff", "csv", "not UTF-8"),
    ],
)
def test_a_bad_row_fails_alone(data: bytes, layout: str, told: str) -> None:
    good = {"jsonl": b'{"a": 1}', "text": b"a", "csv": b"1,2" if b"," in data else b"1"}[layout]
    *_, bad, after = read(data + b"\n" + good + b"\n", layout)
    assert told in str(bad.error) and after.error is None and after.number == bad.number + 1


@pytest.mark.parametrize("data", [b'a,b\n"1', b"a,a\n1,2", b"a,\n1,2"])
def test_csv_that_cannot_be_divided_is_refused(data: bytes) -> None:
    with pytest.raises(BadFileError):
        read(data, "csv")


def test_fields_are_filled_in() -> None:
    text = FieldText("{a} {{a}} {b c}")
    assert text.filled({"a": "{b c}", "b c": [1, "é"]}) == '{b c} {a} [1, "é"]'
    with pytest.raises(UsageError, match="no field 'b c'"):
        text.filled({"a": ""})
    with pytest.raises(UsageError, match="names no field"):
        FieldText("hello {{a}}")


# ---- the file of results -------------------------------------------------------------------------------------------


def test_a_line_that_was_cut_off_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with ResultFile(path, resume=False) as file:
        file.append({"row": 1, "text": "é"})
        file.append({"row": 2})
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        with ResultFile(path, resume=True) as file:
            kept = [result["row"] for result in file.kept()]
            assert path.read_bytes() == whole[: whole.rfind(b"\n", 0, size) + 1]
            for row in range(len(kept), 2):
                file.append([{"row": 1, "text": "é"}, {"row": 2}][row])
        assert path.read_bytes() == whole


def test_another_file_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for content in (b"notes\n", b'{"row": 2}\n', b'{"row": 1}\n{"row": 3}\n', b"[]\n"):
        path.write_bytes(content)
        with pytest.raises(BadFileError, match="is not the result of row"), ResultFile(path, resume=True) as file:
            [*file.kept()]
        assert path.read_bytes() == content


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with ResultFile(path, resume=False) as file:
        file.append({"row": 1})
        with pytest.raises(UsageError, match="another process"), ResultFile(path, resume=False):
            pass
        assert path.read_bytes() == b'{"row": 1}\n'


def test_results_must_be_those_of_the_rows() -> None:
    def source(text: str = "a\nb\nc", **settings: Any) -> Iterator[Any]:
        return keyed(read(text, "text"), settings)

    keys = [key for _, key in source(n=1)]
    kept = [{"row": 1, "key": keys[0], "error": {}}, {"row": 2, "key": keys[1], "seed": 9}]
    left = source(n=1)
    assert skip(left, kept) == Done(2, 1, 7) and [row.number for row, _ in left] == [3]
    assert first_seed(None, Done(2, 1, 7)) == 7 and first_seed(3, Done(2, 1, 7)) == 3
    assert skip(source(n=1), [{"row": 1, "key": keys[0], "seed": 0}]).seed == SEEDS - 1
    for other in (source("a\nB", n=1), source(n=2)):
        with pytest.raises(UsageError, match=r"row [12] of the output has another input"):
            skip(other, kept)
    with pytest.raises(UsageError, match="the input has 1 rows"):
        skip(source("a", n=1), kept)


# ---- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts that begin alike, of several lengths, and two rows that fail."""
    path = tmp_path_factory.mktemp("batch") / "in.jsonl"
    start = "Once upon a time, there was a little girl named Lily. She had a red ball and a cat. "
    lines = [json.dumps({"prompt": start * (n % 3 > 0) + f"One day number {n}", "id": n}) for n in range(ROWS)]
    lines[7], lines[21] = "{", json.dumps({"prompt": "word " * 400})
    path.write_text("\n".join(lines) + "\n")
    return path


def command(story: Path, prompts: Path, out: Path, *more: str) -> list[str]:
    given = ("--seed", "3", "-n", str(LENGTH), "--ctx", "256", "--temp", "1", "--parallel", "6", "-q")
    return ["batch", str(story), str(prompts), "-o", str(out), *given, *more]


def undisturbed(said: Said, story: Path, prompts: Path, out: Path) -> bytes:
    assert said(*command(story, prompts, out)) == (9, "", "")
    return out.read_bytes()


def test_rows_are_answered_in_order(said: Said, story: Path, prompts: Path, tmp_path: Path) -> None:
    found = [json.loads(line) for line in undisturbed(said, story, prompts, tmp_path / "a").splitlines()]
    assert [result["row"] for result in found] == [*range(1, ROWS + 1)]
    failed = {result["row"]: result["error"]["exit_code"] for result in found if "error" in result}
    assert failed == {8: 2, 22: 7}
    good = [result for result in found if "error" not in result]
    assert [result["id"] for result in good] == [n for n in range(ROWS) if n not in (7, 21)]
    assert all(result["seed"] == 3 + result["row"] and result["completion_tokens"] <= LENGTH for result in good)
    one = good[4]
    row = json.loads(prompts.read_text().splitlines()[one["row"] - 1])
    again = ("run", story, row["prompt"], "--raw", "--seed", str(one["seed"]), "-n", str(LENGTH), "--temp", "1")
    assert said(*again, "--ctx", "256", "-q", "--no-stdin", "--prompt-cache", "off")[1].strip() == one["text"].strip()


def test_a_file_that_was_cut_off_ends_up_the_same(said: Said, story: Path, prompts: Path, tmp_path: Path) -> None:
    """Byte for byte, though other rows stand side by side after the cut."""
    out = tmp_path / "out.jsonl"
    whole = undisturbed(said, story, prompts, out)
    for size in (0, len(whole) // 3, len(whole) - 200, len(whole)):
        out.write_bytes(whole[:size])
        assert said(*command(story, prompts, out, "--resume"))[0] == 9
        assert out.read_bytes() == whole
    out.write_bytes(whole[:2000])
    code, _, err = said(*command(story, prompts, out, "--resume", "--top-k", "3"))
    assert code == 2 and "row 1 of the output has another input, or other options" in err
    assert said(*command(story, prompts, out))[0] == 2


def killed(arguments: list[str], out: Path, size: int) -> int:
    """Run the program and kill it once its output has `size` bytes; returns how many bytes there are then."""
    process = forked.start([sys.executable, "-m", "llmlocal", *arguments], stdin=subprocess.DEVNULL)
    end = monotonic() + PATIENCE
    while process.poll() is None and monotonic() < end and (not out.exists() or out.stat().st_size < size):
        sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return out.stat().st_size


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_lose_and_repeat_nothing(said: Said, story: Path, prompts: Path, tmp_path: Path, kills: int) -> None:
    whole = undisturbed(said, story, prompts, tmp_path / "undisturbed.jsonl")
    out, left = tmp_path / "out.jsonl", 0
    for n in range(kills):
        left = killed(command(story, prompts, out, "--resume"), out, left + len(whole) // (kills + 2))
        assert n or left < len(whole)
    assert said(*command(story, prompts, out, "--resume"))[0] == 9
    assert out.read_bytes() == whole


def test_a_row_without_the_field_names_those_it_has(said: Said, story: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("name;city\nAnn;Oslo\n")  # not separated by commas
    code, out, _ = said("batch", story, tmp_path / "in.csv", "--prompt-template", "{city}?")
    error = json.loads(out)["error"]
    assert code == 9 and "no field 'city'" in error["message"] and error["hint"] == "its fields: 'name;city'"


def test_a_batch_without_rows_says_so(said: Said, story: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("\n\n")
    code, out, err = said("batch", story, tmp_path / "in.jsonl")
    assert (code, out) == (0, "") and "there are no rows" in err


def test_many_failures_end_a_batch(said: Said, story: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("{\n" * 50)
    code, _, err = said("batch", story, source, "-o", out, "--max-errors", "2")
    assert code == 9 and len(out.read_bytes().splitlines()) == 3
    assert "row 1: the row is not JSON" in err and "stopped after 3 rows: 3 failed" in err


def test_an_interrupt_leaves_a_file_that_is_gone_on_with(
    said: Said, story: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out, append = undisturbed(said, story, prompts, tmp_path / "a"), tmp_path / "out.jsonl", ResultFile.append

    def interrupted(file: ResultFile, result: Any) -> None:
        append(file, result)
        if result["row"] == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ResultFile, "append", interrupted)
    code, _, err = said(*(word for word in command(story, prompts, out) if word != "-q"))
    assert code == 130 and "--resume goes on" in err
    monkeypatch.setattr(ResultFile, "append", append)
    assert said(*command(story, prompts, out, "--resume"))[0] == 9 and out.read_bytes() == whole


def test_answers_have_their_form(said: Said, story: Path, tmp_path: Path) -> None:
    """In CSV with a template; an answer that is cut short is an error of its row."""
    source = tmp_path / "in.csv"
    source.write_text("name,animal\nTom,cat\nAnn,dog\n")
    words = ("batch", story, source, "--prompt-template", "{name} has a {animal}.", "-q", "--temp", "0")
    code, out, _ = said(*words, "--schema", "old bool")
    assert code == 0 and all(isinstance(json.loads(line)["parsed"]["old"], bool) for line in out.splitlines())
    code, out, _ = said(*words, "--schema", "old bool", "-n", "2")
    assert code == 9 and {json.loads(line)["error"]["exit_code"] for line in out.splitlines()} == {8}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--resume"], "name it with -o"),
        (["--resume", "--force", "-o", "x"], "cannot be combined"),
        (["--prompt-template", "hello"], "names no field"),
        (["--schema", "a foo"], "unknown type 'foo'"),
    ],
)
def test_what_has_no_meaning_is_refused(said: Said, tmp_path: Path, words: list[str], told: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('"a"\n')
    code, out, err = said("batch", "m", source, *words)
    assert (code, out) == (2, "") and told in err
