"""`Model.generate`: what it answers, its options, and functions that choose or change tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from python_models import ONCE, QUESTION, TEMPLATE, read, scripted

import llmlocal
from llmlocal import Model, UsageError, guide
from llmlocal.quant.kernels.matmul import TILED_TOKENS

Said = Callable[..., tuple[int, str, str]]


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
