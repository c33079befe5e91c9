"""The Python API: the examples of its page, the names of the package, loading, logits, tokens."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_hub import FakeHub
from hubs import REPO
from python_models import ONCE

import llmlocal
from llmlocal import Model, UsageError, guide
from llmlocal.api.model import LOGITS_AT_ONCE
from llmlocal.engine import Engine
from llmlocal.hub import places

Said = Callable[..., tuple[int, str, str]]
PAGE = (Path(__file__).parents[1] / "docs" / "python-api.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_of_the_page_run(
    number: int, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, expected = EXAMPLES[number]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "story.gguf").symlink_to(story)
    exec(compile(code, f"python-api.md, example {number}", "exec"), {})
    out = capsys.readouterr().out
    assert out.strip()
    assert not expected or out == expected


def test_three_likeliest_tokens_take_five_lines() -> None:
    lines = [line for line in EXAMPLES[0][0].splitlines() if line.strip()]
    assert len(lines) == 5 and "next_logits" in EXAMPLES[0][0]


def test_page_lists_the_names_of_the_package() -> None:
    section = PAGE.split("\n## Names\n")[1].split("\n## ")[0]
    assert sorted(re.findall(r"`(\w+)`", section)) == sorted(llmlocal.__all__)


def test_page_lists_all_options() -> None:
    section = PAGE.split("\n### Options\n")[1].split("\n### ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(llmlocal.Options.__annotations__)


def test_every_name_is_there_at_run_time_and_for_type_checkers() -> None:
    tree = ast.parse(Path(llmlocal.__file__).read_bytes())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert {alias.name for node in imported for alias in node.names} == set(llmlocal.__all__)
    for name in llmlocal.__all__:
        assert getattr(llmlocal, name).__name__ == name
    assert set(llmlocal.__all__) <= set(dir(llmlocal))
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        llmlocal.lod  # type: ignore[attr-defined]  # noqa: B018


def test_import_is_cheap() -> None:
    code = """
import sys
before = set(sys.modules)
import llmlocal
print(*set(sys.modules) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    foreign = {name.partition(".")[0] for name in modules} - {"llmlocal"} - sys.stdlib_module_names
    assert not {name for name in foreign if not name.startswith("__editable__")}
    assert sum(name.startswith("llmlocal") for name in modules) < 10


def test_names_mean_what_they_mean_on_the_command_line(said: Said, hub: FakeHub, store: Path, story: Path) -> None:
    catalog = places.user_catalog()
    catalog.parent.mkdir(parents=True, exist_ok=True)
    own = f'[models.tiny]\nrepo = "{REPO}"\nfile = "tiny-{{quant}}.gguf"\nsampling = {{ temp = 0.0 }}\n'
    catalog.write_text(f'{own}[aliases]\nwee = "tiny:Q8_0"\n')
    with pytest.raises(llmlocal.NotFoundError, match="tiny is not on this machine") as caught:
        llmlocal.load("tiny")
    assert caught.value.hint == "llmlocal pull tiny"
    hub.add(REPO, {"tiny-Q8_0.gguf": story.read_bytes()})
    assert said("pull", "tiny")[0] == 0
    hub.requests.clear()
    for name in ("tiny", "tiny:Q8_0", "wee", f"hf:{REPO}", f"hf:{REPO}:Q8_0"):
        with llmlocal.load(name) as model:
            assert str(model.path) == said("path", name)[1].strip()
    assert not hub.requests
    with llmlocal.load("tiny") as model:  # its maker recommends to be greedy
        greedy, random = (model.generate(ONCE, max_tokens=40, temperature=t, seed=5) for t in (None, 2.0))
        assert greedy.text == model.generate(ONCE, max_tokens=40, seed=6).text != random.text


def test_load_without_a_name_is_the_guide() -> None:
    with llmlocal.load() as model:
        assert model.path == guide.path()
        assert model.has_chat_template


@pytest.mark.parametrize("name", ["no such.gguf", Path("qwen3-0.6b"), "qwen3-0.6b", "hf:a/b"])
def test_what_is_not_here(store: Path, name: Any) -> None:
    with pytest.raises(llmlocal.NotFoundError):
        llmlocal.load(name)


@pytest.mark.parametrize(
    "arguments", [{"ctx": 0}, {"ctx": "many"}, {"threads": -1}, {"threads": True}, {"kv_type": "f8"}], ids=str
)
def test_bad_arguments_of_load(story: Path, arguments: Any) -> None:
    with pytest.raises(UsageError, match=r"must be|unknown KV cache"):
        llmlocal.load(story, **arguments)
    with pytest.raises(UsageError, match="a name or a path"):
        llmlocal.load(1)  # type: ignore[arg-type]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF?")
    with pytest.raises(llmlocal.BadFileError):
        llmlocal.load(tmp_path / "x.gguf")


def test_logits_are_the_engines(tale: Model, story: Path) -> None:
    ids = tale.tokenize("Once upon a time, there was a little girl named Lily. She loved to play outside.")
    engine = Engine.open(story, n_threads=1, max_outputs=LOGITS_AT_ONCE)
    expected, last = engine.all_logits(ids), Engine.open(story, n_threads=1).prefill(ids)
    engine.close()
    got = tale.logits(ids)
    assert (got.shape, got.dtype) == ((len(ids), tale.vocab_size), np.float32)
    assert np.array_equal(got, expected)
    assert np.array_equal(tale.logits(np.array(ids)), expected)
    assert np.array_equal(tale.logits(tale.detokenize(ids)), expected)
    with llmlocal.load(story) as fresh:
        assert np.array_equal(fresh.next_logits(ids), last)
        assert fresh.context == ids


def test_next_logits_reads_only_what_is_new(tale: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="nothing was read yet"):
        tale.next_logits()
    engine, lengths = tale._access.session.engine, []
    prefill = engine.prefill
    monkeypatch.setattr(engine, "prefill", lambda ids, seq=0: lengths.append(len(ids)) or prefill(ids, seq))
    ids = tale.tokenize(ONCE)
    for _ in range(10):
        ids.append(int(tale.next_logits(ids).argmax()))
    assert lengths == [len(ids) - 10, *[1] * 9]
    answer = tale.generate(ONCE, max_tokens=10, temperature=0)
    assert ids[-10:] == list(answer.tokens)
    assert tale.context == ids
    assert tale.next_logits().argmax() == tale.next_logits(ids).argmax() == tale.logits(ids)[-1].argmax()


def test_an_open_model_goes_on_with_a_file_that_was_replaced(story: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "model.gguf", tmp_path / "other"
    path.write_bytes(story.read_bytes())
    other.write_bytes(b"another file")
    with llmlocal.load(path, threads=1) as model, llmlocal.load(story, threads=1) as same:
        other.rename(path)
        assert np.array_equal(model.next_logits("Once"), same.next_logits("Once"))


def test_tokens_and_text(tale: Model) -> None:
    ids = tale.tokenize(ONCE)
    assert tale.tokenize(ONCE, add_special=False) == ids[1:]
    assert tale.detokenize(ids) == tale.detokenize(np.array(ids)) == ONCE
    assert tale.detokenize(ids[1:], continues=True) == f" {ONCE}"
    assert "<s>" in tale.detokenize(ids, special=True)
    assert 2 in tale.tokenize("a</s>", parse_special=True) and 2 not in tale.tokenize("a</s>")
    assert tale.detokenize_bytes(tale.tokenize(b"\xff")) == b"\xff" and tale.detokenize(tale.tokenize(b"\xff")) == "�"
    for bad in ([512], [-1], ["a"], "12", [1.5], 7):
        with pytest.raises(UsageError, match="ids are"):
            tale.detokenize(bad)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="ids are 0 to 511"):
        tale.logits([512])
    with pytest.raises(UsageError, match="no tokens"):
        tale.logits([])
    with pytest.raises(llmlocal.PromptTooLongError):
        tale.next_logits([1] * (tale.ctx + 1))


def test_a_user_without_a_home(stories: Path) -> None:
    """Names are looked up, and kernels compiled or found, where neither HOME nor the user database knows a home."""
    code = """
import os, pwd, sys
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
import llmlocal
for name in ("nosuch-0.1b", "~/nosuch.gguf"):
    try:
        llmlocal.load(name)
    except llmlocal.NotFoundError as error:
        assert name in str(error)
with llmlocal.load(sys.argv[1]) as model:
    print(len(model.tokenize("a b")))
"""
    without = {name: value for name, value in os.environ.items() if name != "HOME" and not name.startswith("XDG_")}
    subprocess.run([sys.executable, "-c", code, stories / "stories260K-Q8_0.gguf"], env=without, check=True)
