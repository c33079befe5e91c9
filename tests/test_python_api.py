"""The Python API: the examples of its page, what it gives beside the engine and `llmlocal run`, and how it refuses."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chatting import opened
from fake_hub import FakeHub
from hubs import REPO

import llmlocal
from llmlocal import Model, UsageError, guide
from llmlocal.api.model import LOGITS_AT_ONCE
from llmlocal.engine import Engine
from llmlocal.hub import places
from llmlocal.quant.kernels.matmul import TILED_TOKENS

Said = Callable[..., tuple[int, str, str]]
PAGE = (Path(__file__).parents[1] / "docs" / "python-api.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, re.DOTALL)
TEMPLATE = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
QUESTION = "How do I get a model?"
ONCE = "Once upon a time"


def scripted(*answers: str, template: str | None = TEMPLATE, n_ctx: int = 512, delay: float = 0) -> Model:
    """A model that gives these answers, one after the other."""
    script = {"answers": answers, "n_ctx": n_ctx, "delay": delay} | ({"template": template} if template else {})
    return Model(opened(script))


def read(model: Model) -> str:
    """The text that the model has in its context."""
    return model.detokenize(model._access.session.engine.history()).replace("▁", " ")


@pytest.fixture
def tale(story: Path) -> Iterator[Model]:
    with llmlocal.load(story, threads=2) as model:
        yield model


# ---- the page and the package -------------------------------------------------------------------------------------


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


# ---- names and arguments of load ----------------------------------------------------------------------------------


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


# ---- tokens and logits --------------------------------------------------------------------------------------------


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


# ---- generate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["story", "guide"])
def test_answers_equal_those_of_the_command(said: Said, story: Path, name: str) -> None:
    path, prompt = (story, ONCE) if name == "story" else (guide.path(), QUESTION)
    code, out, _ = said("run", path, prompt, "-n", 40, "--seed", 7, "--json", "--no-stdin", "--prompt-cache", "off")
    assert code == 0
    told = json.loads(out)
    with llmlocal.load(path) as model:
        answer = model.generate(prompt, max_tokens=40, seed=7)
        assert (answer.text, str(answer)) == (told["text"],) * 2
        for field in ("finish_reason", "prompt_tokens", "completion_tokens", "cached_tokens", "seed"):
            assert getattr(answer, field) == told[field]
        if not model.has_chat_template:
            assert "no chat template" in answer.notes[-1]
            assert not model.generate(prompt, raw=True, max_tokens=1).notes
        stream = model.generate(prompt, max_tokens=40, seed=7, stream=True)
        pieces = list(stream)
        assert len(pieces) > 5
        assert "".join(pieces) == answer.text
        assert (stream.answer.text, stream.answer.tokens) == (answer.text, answer.tokens)
        assert stream.answer.cached_tokens in (answer.prompt_tokens - TILED_TOKENS, 0)
        assert model.detokenize(answer.tokens, continues=name == "story") == answer.text
        assert answer.timings.decode_speed > 0 and answer.timings.load_seconds > 0


def test_messages_are_a_conversation() -> None:
    model = scripted("four")
    messages = [{"role": "system", "content": "Be."}, {"role": "user", "content": "a?"}]
    assert model.generate(messages).text == "four"
    assert read(model) == "[system:Be.][user:a?]four"
    assert len(messages) == 2
    assert model.generate("b?", system="Be.").text == "four"
    assert read(model) == "[system:Be.][user:b?]four"
    assert model.generate("c?", raw=True).finish_reason == "stop"
    assert read(model) == "c?four"


def test_thoughts_and_their_budget() -> None:
    model = scripted("<think>\nhm</think>\n\n4", template=TEMPLATE + "{# <think> #}")
    answer = model.generate("a?")
    assert (answer.text, answer.thinking, answer.finish_reason) == ("4", "hm", "stop")
    parts = [(part.kind, part.text) for part in model.generate("a?", stream=True).parts()]
    assert [kind for kind, _ in parts] == ["thought", "thought", "answer"]
    assert list(model.generate("a?", stream=True)) == ["4"]
    model = scripted("abcdefghij</think>no", template=TEMPLATE + "<think>\n")
    answer = model.generate("a?", think_budget=4)
    assert "\n</think>\n\n" in model.detokenize(answer.tokens)  # put in, not chosen
    assert model.context[-answer.completion_tokens :] == list(answer.tokens)


def test_stop_strings_and_limits() -> None:
    model = scripted("one STOP two")
    assert model.generate("a?", stop="STOP").text == "one "
    assert model.generate("a?", stop=["never", "two"]).text == "one STOP "
    answer = model.generate("a?", max_tokens=3)
    assert (answer.text, answer.finish_reason, answer.completion_tokens) == ("one", "length", 3)
    empty = model.generate("a?", max_tokens=0)
    assert (empty.text, empty.tokens, empty.prompt_tokens) == ("", (), len(model.context))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temprature": 1}, "no option temprature"),
        ({"temperature": "hot"}, "temperature is 'hot': must be a number"),
        ({"temperature": -1}, "temperature is -1"),
        ({"top_k": 1.5}, "top_k is 1.5: must be a whole number"),
        ({"top_p": 0}, "top_p is 0"),
        ({"max_tokens": -1}, "max_tokens is -1: must be 0 or more"),
        ({"seed": True}, "seed is True: must be a whole number"),
        ({"stop": [1]}, r"stop is \[1\]"),
        ({"stop": ""}, "stop string is empty"),
        ({"think": "hard"}, "think is 'hard': must be one of 'auto', 'on', 'off'"),
        ({"logit_bias": [1]}, "a dictionary"),
        ({"sampler": 1}, "sampler is 1: must be a function"),
        ({"sampler": max, "top_k": 1}, "sampler and top_k exclude each other"),
        ({"raw": True, "system": "x"}, "cannot be combined with a system prompt"),
        ({"raw": True, "think": "off"}, "no effect"),
        ({"system": 1}, "system is 1: must be a text"),
    ],
    ids=str,
)
def test_bad_options(options: Any, said: str) -> None:
    model = scripted("one")
    with pytest.raises(UsageError, match=said):
        model.generate("a?", **options)
    assert model.generate("a?").text == "one"


@pytest.mark.parametrize("prompt", ["", [], 1, [1], [{"role": "user"}], ["hi"], "\ud800"], ids=repr)
def test_bad_prompts(prompt: Any) -> None:
    model = scripted("one")
    with pytest.raises(UsageError):
        model.generate(prompt)
    assert model.generate("a?").text == "one"


def test_options_of_texts_do_not_go_with_messages(tale: Model) -> None:
    for option in ({"raw": True}, {"system": "x"}):
        with pytest.raises(UsageError, match="go with a text"):
            scripted("one").generate([{"role": "user", "content": "a"}], **option)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="no chat template"):
        tale.generate([{"role": "user", "content": "a"}])


# ---- functions that choose ----------------------------------------------------------------------------------------


def test_processor_changes_what_the_sampler_sees(tale: Model) -> None:
    plain = tale.generate(ONCE, max_tokens=20, temperature=0)
    seen: list[list[int]] = []

    def forbid(ids: list[int], logits: Any) -> Any:
        seen.append(list(ids))
        ids.clear()
        logits[list(plain.tokens)] = -np.inf
        return logits

    answer = tale.generate(ONCE, max_tokens=20, temperature=0, logits_processor=forbid)
    assert not set(answer.tokens) & set(plain.tokens)
    assert seen == [tale.tokenize(ONCE) + list(answer.tokens[:n]) for n in range(20)]
    same = tale.generate(ONCE, max_tokens=20, temperature=0, logits_processor=lambda ids, logits: logits.astype(float))
    assert same.tokens == plain.tokens


def test_sampler_chooses_alone(tale: Model) -> None:
    greedy = tale.generate(ONCE, max_tokens=20, temperature=0)
    own = tale.generate(ONCE, max_tokens=20, sampler=lambda ids, logits: logits.argmax())
    assert own.tokens == greedy.tokens
    both = tale.generate(
        ONCE, max_tokens=3, logits_processor=lambda ids, logits: -logits, sampler=lambda ids, logits: logits.argmax()
    )
    assert not set(both.tokens) & set(greedy.tokens)


@pytest.mark.parametrize(
    ("option", "function", "said"),
    [
        ("logits_processor", lambda ids, logits: None, "returned NoneType"),
        ("logits_processor", lambda ids, logits: logits[:3], r"shape \(3,\)"),
        ("logits_processor", lambda ids, logits: logits * np.nan, "NaN"),
        ("logits_processor", lambda ids, logits: logits - np.inf, "-inf for every token"),
        ("sampler", lambda ids, logits: 1e6, r"returned 1000000.0"),
        ("sampler", lambda ids, logits: 10**6, "returned 1000000"),
        ("sampler", lambda ids, logits: None, "returned None"),
    ],
)
def test_functions_must_return_what_has_a_meaning(option: str, function: Any, said: str) -> None:
    model = scripted("one")
    with pytest.raises(UsageError, match=said) as caught:
        model.generate("a?", **{option: function})  # type: ignore[call-overload]
    assert caught.value.hint
    assert model.generate("a?").text == "one"


def test_errors_of_functions_pass_unchanged() -> None:
    model = scripted("one")
    with pytest.raises(ZeroDivisionError):
        model.generate("a?", sampler=lambda ids, logits: 1 // 0)
    assert model.generate("a?").text == "one"


# ---- chat ---------------------------------------------------------------------------------------------------------


def test_chat_keeps_its_history() -> None:
    model = scripted("one", "two", "three")
    chat = model.chat("Be.", temperature=0)
    assert str(chat.send("a?")) == "one"
    assert "".join(chat.send("b?", stream=True, max_tokens=2)) == "tw"
    assert read(model).startswith("[system:Be.][user:a?][assistant:one][user:b?]tw"[:-1])
    said = [(m["role"], m["content"]) for m in chat.messages]
    assert said == [("system", "Be."), ("user", "a?"), ("assistant", "one"), ("user", "b?"), ("assistant", "tw")]
    chat.messages.clear()
    assert chat.undo() == "b?"
    assert len(chat.messages) == 3
    again = model.chat(messages=chat.messages)
    assert again.system == "Be."
    assert str(again.send("c?")) == "three"
    assert len(chat.messages) == 3 and len(again.messages) == 5
    chat.clear()
    chat.system = None
    assert (chat.messages, chat.undo()) == ([], None)


def test_what_of_a_turn_is_kept() -> None:
    chat = scripted("one", "two", "three").chat()
    with chat.send("a?", stream=True) as stream:
        next(stream)
    assert stream.answer.finish_reason == "interrupted"
    assert chat.messages[-1] == {"role": "assistant", "content": stream.answer.text}
    before = chat.messages
    with pytest.raises(ZeroDivisionError):
        chat.send("b?", sampler=lambda ids, logits: 1 // 0)
    with pytest.raises(UsageError):
        chat.send("b?", think="hard")  # type: ignore[call-overload]
    with pytest.raises(llmlocal.PromptTooLongError):
        chat.send("b" * 600)
    assert chat.send("b?", max_tokens=0).text == ""
    assert chat.messages == before


def test_context_end_of_a_chat() -> None:
    stops = scripted("one", n_ctx=120).chat()
    drops = scripted("one", n_ctx=120).chat(context_end="drop")
    with pytest.raises(llmlocal.PromptTooLongError):
        for _ in range(6):
            stops.send("a question?")
    notes = [drops.send("a question?").notes for _ in range(6)]
    assert any("oldest turns" in note for some in notes for note in some)
    assert len(drops.messages) == 12


@pytest.mark.parametrize(
    "messages",
    [[{"role": "assistant", "content": "a"}], [{"role": "user"}], "hi", [{"role": "system", "content": "b"}] * 2],
    ids=str,
)
def test_bad_histories(messages: Any) -> None:
    with pytest.raises(UsageError):
        scripted("one").chat(messages=messages)


def test_bad_chats(tale: Model) -> None:
    with pytest.raises(UsageError, match="no chat template"):
        tale.chat()
    assert str(scripted("one", template=None).chat(template="chatml").send("a?")) == "one"
    with pytest.raises(UsageError, match="context_end"):
        scripted("one").chat(context_end="ask")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="two system prompts"):
        scripted("one").chat("a", messages=[{"role": "system", "content": "b"}])
    with pytest.raises(UsageError, match="text"):
        scripted("one").chat().send("")


# ---- one call at a time, and closing ------------------------------------------------------------------------------


CALLS: dict[str, Callable[[Model], Any]] = {
    "generate": lambda model: model.generate("a?"),
    "stream": lambda model: model.generate("a?", stream=True),
    "logits": lambda model: model.logits([5]),
    "next_logits": lambda model: model.next_logits([5]),
    "send": lambda model: model.chat().send("a?"),
    "undo": lambda model: model.chat().undo(),
}
FREE: dict[str, Callable[[Model], Any]] = {
    "tokenize": lambda model: model.tokenize("a"),
    "detokenize": lambda model: model.detokenize([5]),
    "vocab_size": lambda model: model.vocab_size,
    "stop_ids": lambda model: model.stop_ids,
    "context": lambda model: model.context,
    "metadata": lambda model: model.metadata,
    "has_chat_template": lambda model: model.has_chat_template,
    "chat": lambda model: model.chat(),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_busy_model_refuses_another_call(call: str) -> None:
    model = scripted("one two")
    stream = model.generate("a?", stream=True)
    next(stream)
    with pytest.raises(UsageError, match="busy") as caught:
        CALLS[call](model)
    assert "close it" in caught.value.hint
    for free in FREE.values():
        free(model)
    assert "".join(stream) == "ne two"
    CALLS[call](model)


def test_a_stream_that_is_closed_or_forgotten_frees_the_model() -> None:
    model = scripted("one two")
    stream = model.generate("a?", stream=True)
    stream.close()
    stream.close()
    assert list(stream) == []
    assert model.generate("a?").text == "one two"
    for text in model.generate("a?", stream=True):
        assert text == "o"
        break
    assert model.generate("a?").text == "one two"


@pytest.mark.parametrize("call", CALLS | FREE)
def test_a_closed_model_refuses_everything(call: str) -> None:
    model = scripted("one")
    with model:
        pass
    model.close()
    with pytest.raises(UsageError, match="is closed"):
        (CALLS | FREE)[call](model)
    assert "m" in repr(model)


def test_closing_ends_a_stream() -> None:
    model = scripted("one two")
    stream, engine = model.generate("a?", stream=True), model._access.session.engine
    next(stream)
    model.close()
    assert engine.closed  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="is closed"):
        next(stream)
    assert stream.answer.finish_reason == "interrupted"


def test_functions_that_choose_cannot_use_the_model() -> None:
    model = scripted("one")
    for call in (*CALLS.values(), Model.close):

        def choose(ids: list[int], logits: Any, call: Callable[[Model], Any] = call) -> int:
            call(model)
            return 0

        with pytest.raises(UsageError, match=r"busy|being made"):
            model.generate("a?", sampler=choose)
    assert model.generate("a?").text == "one"


def test_threads_are_refused_or_ended_by_closing() -> None:
    model, came = scripted("x" * 200, delay=0.02), []

    def ask() -> None:
        try:
            model.generate("a?")
        except UsageError as error:
            came.append(str(error))

    begun = threading.Event()
    first = threading.Thread(target=lambda: (begun.set(), ask()))
    first.start()
    begun.wait()
    while not model._access._lock.locked():
        pass
    other = threading.Thread(target=ask)
    other.start()
    other.join()
    assert came == ["the model is busy with another call"]
    model.close()
    first.join(timeout=2)
    assert not first.is_alive()
    assert came[1:] == ["the model is closed"]


def test_threads_with_a_lock_get_what_one_alone_gets(tale: Model) -> None:
    lock, texts = threading.Lock(), ["Once upon", "Lily", "The dog", "One day"]
    alone = [tale.generate(text, max_tokens=20, seed=1).text for text in texts]
    got: dict[str, str] = {}

    def ask(text: str) -> None:
        with lock:
            got[text] = tale.generate(text, max_tokens=20, seed=1).text

    threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[text] for text in texts] == alone


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
