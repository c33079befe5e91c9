"""Records of answers: what they hold, that they can be run again, and what is said where the answer is another one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from llmlocal.errors import LlmlocalError
from llmlocal.generation.session import Session
from llmlocal.records.record import read
from llmlocal.records.replay import replay

Said = Callable[..., tuple[int, str, str]]
SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "schemas" / "record.schema.json").read_text())
OPTIONS: dict[str, list[str]] = {
    "plain": ["--raw"],
    "form": ["--raw", "--regex", "[a-z ]{3,40}", "-n", "30"],
    "sampler": [
        *(
            "--raw",
            "--ban",
            "the",
            "--logit-bias",
            "300=-inf",
            "--logit-bias",
            "301=2.5",
            "--mirostat",
            "2",
            "-n",
            "30",
        ),
        *("--dry-multiplier", "1", "--stop", "Lily went", "--repeat-penalty", "1.1"),
    ],
    "chat": ["--template", "chatml", "--think", "off", "-s", "Be brief.", "--think-budget", "5"],
}


@pytest.fixture(scope="module")
def made(stories: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A record for each of OPTIONS, of a model in a folder of its own."""
    from llmlocal.cli.main import main

    folder = tmp_path_factory.mktemp("records")
    shutil.copy(stories / "stories260K-Q8_0.gguf", folder / "model.gguf")
    paths = {name: folder / f"{name}.json" for name in OPTIONS}
    for name, path in paths.items():
        more = ["-n", "12", "--seed", "7", "--no-stdin", "-q", *OPTIONS[name], "--record", str(path)]
        assert main(["run", str(folder / "model.gguf"), "Once upon", *more]) == 0
    return paths


def changed(record: Path, tmp_path: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a record with a change."""
    content = json.loads(record.read_text())
    change(content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", OPTIONS)
def test_a_record_is_as_its_schema_says_and_gives_the_same_tokens_again(
    name: str, made: dict[str, Path], said: Said
) -> None:
    record = json.loads(made[name].read_text())
    Draft202012Validator(SCHEMA).validate(record)
    n = len(record["answer"]["ids"])
    assert n >= 3 and record["asked"]["sampling"]["seed"] == 7
    assert said("replay", made[name], "-t", "1") == (0, f"the same {n} tokens\n", "")


def test_a_drawn_seed_is_recorded(said: Said, story: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    assert said("run", story, "Once", "-n", "8", "--temp", "2", "--raw", "-q", "--record", path)[0] == 0
    assert said("replay", path)[:2] == (0, "the same 8 tokens\n")


def test_the_token_that_differs_is_named_and_what_has_changed(
    said: Said, made: dict[str, Path], tmp_path: Path
) -> None:
    def change(record: Any) -> None:
        record["answer"]["ids"][4] = 410
        record["environment"] |= {"llmlocal": "0.0.1", "isa": "neon"}
        record["model"]["files"][0]["sha256"] = "0" * 64

    path = changed(made["plain"], tmp_path, change)
    code, out, err = said("replay", path)
    first, hint = err.splitlines()
    assert (code, out) == (10, "")
    assert first.startswith("error: token 5 differs: ") and first.endswith("(410)") and "recorded" in first
    assert "the model file is another one: SHA-256 " in hint and "recorded 000000000000..." in hint
    assert "llmlocal is 0.1.0, recorded 0.0.1" in hint and ", recorded neon" in hint
    code, out, err = said("replay", path, "--json")
    result = json.loads(out)
    assert (code, err, result["same"], result["at"], result["recorded"]["id"]) == (10, "", False, 4, 410)
    assert len(result["environment"]) == 3


def test_changes_that_do_not_show_are_a_note(said: Said, made: dict[str, Path], tmp_path: Path) -> None:
    path = changed(made["plain"], tmp_path, lambda record: record["environment"].update(numba="0.1"))
    code, out, err = said("replay", path)
    assert (code, out) == (0, "the same 12 tokens\n") and "numba is " in err and ", recorded 0.1\n" in err
    assert said("replay", path, "-q")[2] == ""


@pytest.mark.parametrize(
    ("change", "said_of"),
    [
        (lambda ids: ids.append(5), "token 13 differs: the end, recorded "),
        (lambda ids: ids.pop(), "token 12 differs: "),
        (lambda ids: ids.clear(), "token 1 differs: "),
    ],
)
def test_an_answer_that_is_longer_or_shorter(
    change: Callable[[list[int]], None], said_of: str, said: Said, made: dict[str, Path], tmp_path: Path
) -> None:
    code, _, err = said("replay", changed(made["plain"], tmp_path, lambda record: change(record["answer"]["ids"])))
    assert code == 10 and err.startswith(f"error: {said_of}")
    assert "hint: the model file, versions and instruction set are the same" in err


def test_another_model(said: Said, made: dict[str, Path], stories: Path, tmp_path: Path) -> None:
    path = changed(made["plain"], tmp_path, lambda record: record["model"].update(path=str(tmp_path / "gone.gguf")))
    code, _, err = said("replay", path)
    assert code == 3 and "gone.gguf: no such file" in err
    assert said("replay", path, "--model", stories / "stories260K-Q8_0.gguf")[:2] == (0, "the same 12 tokens\n")


def test_files_are_not_written_over(said: Said, made: dict[str, Path], story: Path, tmp_path: Path) -> None:
    before = made["plain"].read_bytes()
    run = ("run", story, "Once", "-n", "2", "--raw", "-q", "--no-stdin")
    code, _, err = said(*run, "--record", made["plain"])
    assert code == 2 and "exists" in err and made["plain"].read_bytes() == before
    code, _, err = said(*run, "--record", tmp_path / "a", "-o", tmp_path / "a")
    assert code == 2 and "-o and --record name the same file" in err
    for option in ("--record", "-o"):
        gone = ("run", story, "Once", "--raw", "--no-stdin", "-n", "1", option, tmp_path / "none" / "x.json")
        assert said(*gone)[:2] == (3, ""), "the folder is looked for before the answer"
    assert said(*run, "--record", story, "--force")[0] == 2
    (tmp_path / "a").write_text("old")
    assert said(*run, "--record", tmp_path / "a", "--force")[0] == 0
    assert json.loads((tmp_path / "a").read_text())["kind"] == "llmlocal.record"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a record of llmlocal"),
        (b"[]", "is not a record of llmlocal: it is another kind of file"),
        (b"[" * 100_000, "is not a record of llmlocal"),
        (b"\xff", "is not a record of llmlocal"),
        (b'{"kind": "other"}', "is not a record of llmlocal: it is another kind of file"),
        (b'{"kind": "llmlocal.record", "schema": 99}', "a record of version 99, not 1"),
    ],
)
def test_what_is_no_record(content: bytes, message: str, said: Said, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    code, out, err = said("replay", path)
    assert (code, out) == (5, "") and message in err.splitlines()[0]
    assert said("replay", tmp_path)[0] == 5
    assert said("replay", tmp_path / "nothing")[0] == 3


def paths_of(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in items:
        yield (*above, key)
        yield from paths_of(item, (*above, key))


def test_a_record_that_lies_is_refused_in_our_words(made: dict[str, Path], tmp_path: Path) -> None:
    """Each value of a record is replaced by one of another kind or size: no mistake of ours comes of it."""
    record = json.loads(made["sampler"].read_text())
    path = tmp_path / "r.json"
    refused = 0
    with Session.open(record["model"]["path"], n_ctx=64) as session:
        for n, keys in enumerate(paths_of(record)):
            hostile = deepcopy(record)
            holder = hostile
            for key in keys[:-1]:
                holder = holder[key]
            holder[keys[-1]] = 10**400 if "logit_bias" in keys else (None, "x", 10**30, [-1], {"a": 1})[n % 5]
            path.write_text(json.dumps(hostile))
            try:
                replay(session, read(path))
            except LlmlocalError:
                refused += 1
    assert refused > 40


@pytest.mark.parametrize(
    ("name", "value"), [("n_ctx", 0), ("n_ctx", 10**30), ("kv_type", "f64"), ("kv_type", []), ("weights", "x")]
)
def test_settings_of_a_record_that_cannot_be(
    name: str, value: object, said: Said, made: dict[str, Path], tmp_path: Path
) -> None:
    path = changed(made["plain"], tmp_path, lambda record: record["settings"].update({name: value}))
    code, out, err = said("replay", path)
    assert code in (2, 5, 6, 7) and out == "" and err.startswith("error: ")


# ---- prompts that are longer than the context ----------------------------------------------------------------------


def test_the_middle_of_a_long_prompt_is_left_out_if_asked_for(said: Said, story: Path, tmp_path: Path) -> None:
    run = ("run", story, "Once " + "x " * 600 + "upon", "--raw", "-n", "4", "-c", "64", "--no-stdin")
    code, out, err = said(*run)
    assert (code, out) == (7, "") and "--ctx" in err and "or leave out its middle (--overflow middle)" in err
    path = tmp_path / "r.json"
    code, out, err = said(*run, "--overflow", "middle", "--record", path)
    record = json.loads(path.read_text())
    assert code == 0 and len(record["prompt"]["ids"]) == 60
    assert "tokens are left out in the middle of the prompt (--overflow middle)" in err
    text = record["prompt"]["text"]
    assert "Once" in text and text.endswith("upon")
    shown = said(*run, "--overflow", "middle", "--show-prompt")[1]
    assert "60 tokens: 1 " in shown


def test_a_prompt_that_fits_stays_whole(said: Said, story: Path) -> None:
    run = ("run", story, "Once upon a time", "--raw", "--show-prompt", "--no-stdin")
    assert said(*run, "--overflow", "middle") == said(*run)


def test_a_text_far_larger_than_the_context_is_cut_before_it_is_encoded(
    said: Said, story: Path, tmp_path: Path
) -> None:
    long = tmp_path / "long.txt"
    long.write_text("Once é" + "é" * 3_000_000 + " upon")
    code, out, _ = said(
        "run", story, "-f", long, "--raw", "-c", "64", "--overflow", "middle", "--show-prompt", "--no-stdin"
    )
    assert code == 0 and out.startswith("Once") and " upon" in out and "\ufffd" not in out


def test_control_tokens_stay() -> None:
    from scripted import EOS, session, word

    from llmlocal.chat_format.prompt import Prompt
    from llmlocal.generation.overflow import without_middle

    tokenizer = session()[0].tokenizer
    d, bos = word("d"), 1
    ids = [bos, d, d, EOS, *[d] * 9, EOS, d]
    cut, left_out = without_middle(Prompt("", ids, False), tokenizer, 10)
    assert (cut.ids, left_out) == ([bos, d, d, EOS, *[d] * 4, EOS, d], 5)
    same, left_out = without_middle(Prompt("", ids, False), tokenizer, 6)  # more than the longest text has
    assert (same.ids, left_out) == (ids, 0)
