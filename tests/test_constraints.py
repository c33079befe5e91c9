"""Forms of answers at work: which tokens they allow, when they begin, and that answers of random models have them."""

from __future__ import annotations

import json
from functools import partial
from threading import current_thread
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from scripted import EOS, ScriptedEngine
from vocabularies import N_FIXED, spm

from llmlocal import tokenizer as tokenizers
from llmlocal.constraints import matcher
from llmlocal.constraints.concise import schema as concise
from llmlocal.constraints.grammar import Grammar, of_regex, of_schema
from llmlocal.engine import Engine
from llmlocal.errors import UsageError
from llmlocal.generation.events import Finished, Token
from llmlocal.generation.sampling_params import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.gguf import GGUFFile
from llmlocal.tokenizer import Tokenizer

WORDS = (
    "▁",
    '▁"',
    '{"',
    '":',
    '",',
    '"}',
    "name",
    "age",
    "true",
    "null",
    "12",
    "▁the",
    "é",
    "<think>",
    "</think>",
    "[]",
)
TYPES = [2, 3, 3] + [6] * 256 + [1] * len(WORDS)
for tag in ("<think>", "</think>"):
    TYPES[N_FIXED + WORDS.index(tag)] = 3
ENDS = ('"', "}", "]", '"}')  # a random model never ends anything by itself
TEMPLATES = {
    "none": "{% for m in messages %}[{{ m.content }}]{% endfor %}",
    "may": "{% for m in messages %}[{{ m.content }}]{% endfor %}{# <think></think> enable_thinking #}",
    "opened": "{% for m in messages %}[{{ m.content }}]{% endfor %}<think>\n",
}


def words(**over: Any) -> Tokenizer:
    return tokenizers.load(spm(*WORDS, **{"token_type": TYPES, "add_space_prefix": False, **over}))


TOKENIZER = words()


class RandomEngine(ScriptedEngine):
    """Random logits, with some weight on what ends texts and objects."""

    def __init__(self, seed: int, n_ctx: int = 1024) -> None:
        super().__init__((), n_ctx, TOKENIZER.n_vocab)
        self.random = np.random.default_rng(seed)
        self.likely = [id for id in range(TOKENIZER.n_vocab) if TOKENIZER.piece(id).decode("latin1") in ENDS]

    def _append(self, tokens: Any) -> Any:
        super()._append(tokens)
        logits = self.random.standard_normal(self.n_vocab).astype(np.float32)
        logits[self.likely] += 4
        return logits


def session(engine: ScriptedEngine, template: str | None = None, tokenizer: Tokenizer = TOKENIZER) -> Session:
    if template is not None:
        engine.gguf.metadata["tokenizer.chat_template"] = TEMPLATES.get(template, template)
    return Session(cast(GGUFFile, engine.gguf), tokenizer, engine.n_ctx, partial(cast, Engine, engine))


def said(
    engine: ScriptedEngine, grammar: Grammar, template: str | None = None, think: Any = "auto", **more: Any
) -> tuple[str, list[Token], Finished]:
    """The answer's text, tokens and end."""
    from llmlocal.chat_format.prompt import PromptRequest

    s = session(engine, template)
    prompt = s.prompt(PromptRequest(b"hello", raw=template is None, think=think))
    *events, end = s.answer(prompt, grammar=grammar, **{"max_tokens": 400, **more})
    tokens = [event for event in events if isinstance(event, Token)]
    assert isinstance(end, Finished)
    return "".join(token.text for token in tokens), tokens, end


GREEDY = SamplingParams(temperature=0)
# fmt: off
SCHEMAS: list[dict[str, Any]] = [
    {"type": "null"}, {"type": "boolean"}, {"type": "integer", "minimum": -3, "maximum": 1200}, {"const": 3},
    {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 70},
    {"type": "string", "maxLength": 5}, {"type": "string", "minLength": 3, "maxLength": 4},
    {"enum": ["a", 1, None, [2]]},
    {"type": "string", "pattern": "^[a-c]{2,4}$"}, {"type": "string", "pattern": "^\\d{3}-\\d{4}$"},
    {"type": "string", "format": "date"}, {"type": "string", "format": "uuid"}, {"type": "string", "format": "ipv4"},
    {"type": ["string", "null"], "maxLength": 2},
    {"anyOf": [{"type": "integer", "maximum": 9, "minimum": 0}, {"const": "x"}]},
    {"oneOf": [{"type": "boolean"}, {"type": "null"}]}, {"allOf": [{"minimum": 3}, {"type": "integer", "maximum": 5}]},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}], "items": False, "minItems": 2},
    {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 0},
    {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False},
    {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "additionalProperties": False},
    {"type": "object", "properties": {"é\"\\": {"type": "null"}}, "required": ["é\"\\"], "additionalProperties": False},
    {"type": "object", "patternProperties": {"^k[0-9]$": {"type": "boolean"}}, "additionalProperties": False},
    {"type": "object", "additionalProperties": {"type": "null"}, "maxProperties": 1},
    {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer", "minimum": 1, "maximum": 9}}},
    {"type": "object", "properties": {"k": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["k"],
     "additionalProperties": False},
    {"title": "T", "description": "d", "x-own": 1, "type": "boolean", "default": True},
    concise("name, age int, tags [str], mood good|bad, note? str: what else"),
    concise("ok bool\nscores [int]: one for each\nratio? float"),
    {"type": "array", "items": {"type": "array", "items": {"type": "null"}, "maxItems": 1}, "maxItems": 2},
    {"anyOf": [
        {"type": "object", "properties": {"t": {"const": "a"}}, "required": ["t"], "additionalProperties": False},
        {"type": "object", "properties": {"t": {"const": "b"}, "n": {"type": "null"}}, "required": ["t", "n"],
         "additionalProperties": False}]},
    {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 2},
    {"type": "string", "enum": ["<s>", "</s>", "<think>"]},
    {"type": "string", "format": "time"}, {"type": "string", "format": "email"}, {"enum": [" ", "\n", "\u2028", "𝄞"]},
]
# fmt: on


@pytest.mark.parametrize("i", range(len(SCHEMAS)))
def test_random_models_answer_what_the_schema_allows(i: int) -> None:
    """Sampled and greedy, with and without a thought; an answer that was cut short says so."""
    schema, grammar, whole = SCHEMAS[i], of_schema(SCHEMAS[i]), 0
    for seed, (template, think) in enumerate([(None, "auto"), ("may", "auto"), ("opened", "on"), ("opened", "off")]):
        for sampling in (GREEDY, SamplingParams(temperature=1, top_k=0, top_p=1, min_p=0, seed=seed)):
            text, _, end = said(RandomEngine(seed), grammar, template, think, sampling=sampling, think_budget=4)
            if not end.valid:
                assert end.reason == "length"
                continue
            Draft202012Validator(schema).validate(json.loads(text))
            assert "\n" not in text and text == text.strip()
            whole += 1
    assert whole >= 4


INSTANCES: list[Any] = [
    *(None, True, 3, 7, 0, 0.5, 1.5, -4, "a", "ab", "abcd", "x", "123-4567", "2024-02-29", [], [1], [True, False]),
    *(
        {},
        {"a": True},
        {"a": 1, "b": 2},
        {"b": 2},
        {"k": {"k": None}},
        {"k1": False},
        {"t": "a"},
        {"t": "b", "n": None},
    ),
]


@pytest.mark.parametrize("i", range(len(SCHEMAS)))
def test_schemas_allow_what_jsonschema_allows(i: int) -> None:
    grammar, schema = of_schema(SCHEMAS[i]), Draft202012Validator(SCHEMAS[i])
    if SCHEMAS[i].get("format"):
        return  # jsonschema needs more packages for formats
    for instance in INSTANCES:
        assert grammar.matches(json.dumps(instance)) == schema.is_valid(instance), instance


# ---- masks --------------------------------------------------------------------------------------------------------


def test_a_mask_allows_exactly_the_tokens_after_which_a_text_of_the_form_remains() -> None:
    grammar = of_regex("(the|é|nam[e]12) *true")
    texts = [f"{word}{' ' * n}true" for word in ("the", "é", "name12") for n in range(9)]
    constraint, taken = grammar.start(TOKENIZER), b""
    for id in TOKENIZER.encode("name12  true", add_special=False):
        logits = constraint.masked(np.zeros(TOKENIZER.n_vocab, np.float32))
        if forced := constraint.forced():
            assert np.flatnonzero(logits == 0).tolist() == forced[:1] == [id]
        for other in range(TOKENIZER.n_vocab):
            piece, ends = TOKENIZER.piece(other), other in TOKENIZER.stop_ids
            if forced:
                break
            special = TOKENIZER.vocab.types[other] in (2, 3)
            wanted = not special and bool(piece) and any(t.encode().startswith(taken + piece) for t in texts)
            assert (logits[other] == 0) == (wanted or (ends and constraint.complete)), (taken, piece)
        constraint.advance(id)
        taken += TOKENIZER.piece(id)
    assert constraint.complete and constraint.finished and taken == b"name12  true"
    with pytest.raises(UsageError, match="not allowed"):
        constraint.advance(id)


def test_an_answer_ends_where_nothing_may_follow_and_may_end_where_it_is_complete() -> None:
    a, e = TOKENIZER.vocab.ids["<0x61>"], TOKENIZER.vocab.ids["é"]
    text, tokens, end = said(engine([EOS, EOS]), of_regex("aa*"), sampling=GREEDY)
    assert (text, end.reason, end.valid) == ("a", "stop", True) and tokens[-1].id == EOS
    text, tokens, end = said(engine([e, EOS]), of_regex("a|b|é"), sampling=GREEDY)
    assert (text, end.reason, end.valid, len(tokens)) == ("é", "stop", True, 1)
    text, tokens, end = said(engine([a]), of_regex("a{9}x?"), sampling=GREEDY, max_tokens=5)
    assert (text, end.reason, end.valid) == ("aaaaa", "length", False)
    text, tokens, end = said(engine([a]), of_regex("a*"), sampling=GREEDY, max_tokens=5)
    assert (text, end.reason, end.valid) == ("aaaaa", "length", True)
    text, tokens, end = said(engine([a]), of_regex("a*b"), sampling=GREEDY, stop=["aaa"])
    assert (text, end.reason, end.valid) == ("", "stop", False)


def engine(script: list[int], n_vocab: int = TOKENIZER.n_vocab) -> ScriptedEngine:
    return ScriptedEngine(script, 1024, n_vocab)


def test_what_the_form_forces_is_read_at_once_and_in_the_tokenizers_own_tokens() -> None:
    grammar = of_schema({"const": {"name": "the name", "age": 12}})
    at_work = engine([])
    text, tokens, end = said(at_work, grammar, sampling=GREEDY)
    assert text == '{"name": "the name", "age": 12}' and end.valid
    ids = [token.id for token in tokens]
    assert ids == TOKENIZER.encode(text, add_special=False, continues=True)
    assert len([call for call in at_work.calls if call[0] == "decode"]) < len(ids) // 2


def test_the_space_before_a_text_counts() -> None:
    """Tokenizers that put a space before a text hide it; where there is a form, what is matched is what is shown."""
    tokenizer = words(add_space_prefix=True)
    the = tokenizer.vocab.ids["▁the"]
    for regex, shown in ((" the", " the"), ("the", "the")):
        s = session(engine([the]), tokenizer=tokenizer)
        *events, end = s.complete("x", sampling=GREEDY, max_tokens=9, grammar=of_regex(regex))
        assert isinstance(end, Finished) and end.valid
        assert "".join(event.text for event in events if isinstance(event, Token)) == shown


def test_masks_are_computed_beside_the_runs_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    added, masks, form = matcher._added, list[str](), of_schema(concise("name, tags [str]"))
    monkeypatch.setattr(matcher, "_added", lambda *given: masks.append(current_thread().name) or added(*given))
    said(RandomEngine(3), form)
    assert len(masks) > 1 and set(masks) == {"llmlocal-mask_0"}


# ---- thoughts -----------------------------------------------------------------------------------------------------


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special=False, parse_special=True)


@pytest.mark.parametrize("template", ["may", "opened"])
def test_the_form_begins_after_the_thought(template: str) -> None:
    opens = "<think>" if template == "may" else ""
    script = [*ids(f"{opens}an é thought</think>"), *ids("??12x")]
    text, tokens, end = said(engine(script), of_regex("[0-9]+"), template, sampling=GREEDY, max_tokens=40)
    thought = "".join(part.text for token in tokens for part in token.parts if part.kind == "thought")
    assert thought == "an é thought" and text.startswith("12") and end.valid


def test_a_model_that_may_think_need_not() -> None:
    text, tokens, end = said(engine([*ids("12"), EOS]), of_regex("[0-9]{2}"), "may", sampling=GREEDY)
    assert (text, end.valid) == ("12", True) and not any(token.thinking for token in tokens)
    text, _, end = said(engine(ids("<think>no</think>")), of_regex("n|o"), "may", "off", sampling=GREEDY)
    assert (text, end.valid) == ("n", True)


def test_a_thought_does_not_end_the_answer_and_its_budget_holds() -> None:
    script = [*ids("hm"), EOS]
    text, tokens, end = said(engine(script), of_regex("[0-9]{2}"), "opened", sampling=GREEDY, think_budget=6)
    assert end.valid and text.isdigit() and len(text) == 2
    assert EOS not in [token.id for token in tokens][:-1]


HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant"
    "{# <|channel|>analysis #}"
)


def test_headers_of_messages_are_put_before_the_answer() -> None:
    names = ("<|start|>", "<|end|>", "<|call|>", "<|message|>", "<|channel|>", "<|return|>")
    tokenizer = tokenizers.load(
        spm(*names, token_type=[2, 3, 3] + [6] * 256 + [3] * len(names), add_space_prefix=False)
    )

    def answered(think: Any, script: str) -> tuple[str, str, Any]:
        from llmlocal.chat_format.prompt import PromptRequest

        made = engine(tokenizer.encode(script, add_special=False, parse_special=True), tokenizer.n_vocab)
        s = session(made, HARMONY, tokenizer)
        prompt = s.prompt(PromptRequest(b"x", think=think))
        *events, end = s.answer(prompt, sampling=GREEDY, max_tokens=200, grammar=of_regex("yes|no"))
        tokens = [event for event in events if isinstance(event, Token)]
        whole = b"".join(tokenizer.decode_bytes([token.id], special=True) for token in tokens).decode()
        return "".join(token.text for token in tokens), whole, end

    text, whole, end = answered("off", "no")
    assert (text, whole, end.valid) == ("no", "<|channel|>final<|message|>no", True)
    thought = "<|channel|>analysis<|message|>"
    text, whole, end = answered("auto", "." * 10 + "hm<|end|>")
    assert text in ("yes", "no") and end.valid
    assert whole.startswith(thought) and f"<|end|><|start|>assistant<|channel|>final<|message|>{text}" in whole


# ---- many ---------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "name", "é", "x y", '"', "k1", "$ref", "type"])
LEAVES = st.one_of(
    st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"type": "string", "format": "date"}]),
    st.builds(
        lambda low, more, kind: {"type": kind, "minimum": low, "maximum": low + more},
        st.integers(-1000, 1000),
        st.integers(0, 5000),
        st.sampled_from(["integer", "number"]),
    ),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more},
        st.integers(0, 4),
        st.integers(0, 9),
    ),
    st.sampled_from(["^[a-f0-9]{2,6}$", "^(x|yz)+$", "^\\d{1,3}(\\.\\d)?$"]).map(
        lambda p: {"type": "string", "pattern": p}
    ),
    st.lists(st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=4)), min_size=1, max_size=4).map(
        lambda values: {"enum": values}
    ),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.builds(
        lambda item, low, more: {"type": "array", "items": item, "minItems": low, "maxItems": low + more},
        inner,
        st.integers(0, 2),
        st.integers(0, 2),
    )
    objects = st.builds(
        lambda named, flags: {
            "type": "object",
            "properties": named,
            "required": [name for name, flag in zip(named, flags, strict=False) if flag],
            "additionalProperties": False,
        },
        st.dictionaries(NAMES, inner, max_size=4),
        st.lists(st.booleans(), min_size=4, max_size=4),
    )
    return st.one_of(lists, objects, st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}))


def answer_is_valid_or_refused(schema: dict[str, Any], seed: int, template: str | None) -> None:
    try:
        grammar = of_schema(schema)
    except UsageError:
        return
    text, _, end = said(
        RandomEngine(seed), grammar, template, think_budget=3, max_tokens=900, sampling=SamplingParams(seed=seed)
    )
    if end.valid:
        Draft202012Validator(schema).validate(json.loads(text))
    else:
        assert end.reason in ("length", "context")


SOME = st.recursive(LEAVES, nested, max_leaves=6)
THOUGHTS = st.sampled_from([None, "may", "opened"])


@given(SOME, st.integers(0, 1000), THOUGHTS)
@settings(max_examples=30, suppress_health_check=list(HealthCheck), derandomize=True)
def test_schemas_made_at_random(schema: dict[str, Any], seed: int, template: str | None) -> None:
    answer_is_valid_or_refused(schema, seed, template)


@pytest.mark.slow
@given(st.recursive(LEAVES, nested, max_leaves=25), st.integers(0, 1000), THOUGHTS)
@settings(max_examples=500, suppress_health_check=list(HealthCheck))
def test_five_hundred_schemas_made_at_random(schema: dict[str, Any], seed: int, template: str | None) -> None:
    answer_is_valid_or_refused(schema, seed, template)
