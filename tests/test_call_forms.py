"""Calls that models are forced to make, or begin themselves: in their own notation, and as the schemas allow."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache, partial
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from scripted import ScriptedEngine
from test_tool_calls import golden
from vocabularies import spm

from llmlocal import tokenizer as tokenizers
from llmlocal.chat_format.call_form import CallForm, call_form, chosen
from llmlocal.chat_format.call_shape import Shape, read
from llmlocal.chat_format.chat_template import ChatTemplate, TemplateStoppedError
from llmlocal.chat_format.prompt import conversation
from llmlocal.chat_format.thinking import Think
from llmlocal.chat_format.tool_calls import Call, parse
from llmlocal.chat_format.tool_use import tool_use
from llmlocal.engine import Engine
from llmlocal.errors import BadFileError, UsageError
from llmlocal.generation.events import Finished, Token
from llmlocal.generation.sampler import SamplingParams
from llmlocal.generation.session import Session
from llmlocal.gguf import GGUFFile
from llmlocal.tokenizer import Tokenizer

ASK = [{"role": "user", "content": "What is the weather?"}]
PHI = (  # as Phi-4-mini declares functions, in the system message
    "{% for m in messages %}{% if m.role == 'system' and m.tools %}<|system|>{{ m.content }}<|tool|>{{ m.tools }}"
    "<|/tool|><|end|>{% else %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
MODELS = {
    "Qwen3": "Qwen-Qwen3-0.6B", "Llama 3.1": "meta-llama-Llama-3.1-8B-Instruct",
    "Mistral Nemo": "mistralai-Mistral-Nemo-Instruct-2407", "Mistral": "Mistral-Small-3.2-24B-Instruct-2506",
    "Hermes": "NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "Granite 3": "ibm-granite-granite-3.3-2B-Instruct",
    "Granite": "ibm-granite-granite-4.0", "gpt-oss": "openai-gpt-oss-120b", "DeepSeek": "deepseek-ai-DeepSeek-V3.2",
    "DeepSeek R1": "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "Phi-4": "", "Gemma 4": "google-gemma-4-31B-it",
    "Command R": "CohereForAI-c4ai-command-r7b-12-2024-tool_use", "Gemma 2": "google-gemma-2-2b-it",
    "SmolLM3": "HuggingFaceTB-SmolLM3-3B", "LFM2": "LFM2-8B-A1B", "Qwen3-Coder": "Qwen3-Coder", "GLM": "GLM-4.6",
    "Kimi": "moonshotai-Kimi-K2", "MiniMax": "MiniMax-M2",
}  # fmt: skip
TAG = re.compile(
    r"<\|[^<>\s'\"{}]{1,40}>|<[^<>\s'\"{}/]{1,40}\|>|<｜[^<>\s'\"{}]{1,40}｜>|\[/?[A-Z_]{3,20}\]|</?tool_call>"
)
CLOSES = ("</arg_value>", "</parameter>", "\n</parameter>", "</｜DSML｜parameter>")  # plain text in these vocabularies
SCHEMAS: dict[str, Any] = {
    "weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 2, "maxLength": 6},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
            "deep": {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "number"}}}},
        },
        "required": ["city", "unit"],
    },
    "now": {"type": "object", "properties": {}},
    "note": {
        "type": "object",
        "properties": {"text": {"type": "string"}, "tags": {"type": "array", "items": {"enum": ["x", "y"]}}},
        "required": ["text"],
    },
}


def tools_of(schemas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": {"name": n, "description": "", "parameters": s}} for n, s in schemas.items()
    ]


@cache
def template_of(model: str) -> ChatTemplate:
    name = MODELS[model]
    return ChatTemplate(golden()["models"][name]["template"] if name else PHI, golden()["special"])


@cache
def tokenizer_of(model: str) -> Tokenizer:
    """Bytes, some words, and the tags of a template as special tokens."""
    texts = sorted({text for text in TAG.findall(template_of(model).source) if "+" not in text} | {'<|"|>'})
    words = ["▁", '{"', '"}', '":', "</", "▁the", '","', "name", ">\n", "\n\n", *CLOSES]
    types = [2, 3, 3] + [6] * 256 + [1] * len(words) + [3] * len(texts)
    return tokenizers.load(spm(*words, *texts, token_type=types, add_space_prefix=False))


class RandomEngine(ScriptedEngine):
    """Random logits, with some weight on what ends texts and objects, and on whatever is in `likely`."""

    def __init__(self, seed: int, tokenizer: Tokenizer, likely: Sequence[int] = ()) -> None:
        super().__init__((), 20_000, tokenizer.n_vocab)
        self.random = np.random.default_rng(seed)
        ends = (b'"', b"}", b"]", b'"}', b"</", b">", b")", b'<|"|>', *(text.encode() for text in CLOSES))
        self.likely = [*likely, *(id for id in range(tokenizer.n_vocab) if tokenizer.piece(id) in ends)]

    def _append(self, tokens: Any) -> Any:
        super()._append(tokens)
        logits = self.random.standard_normal(self.n_vocab).astype(np.float32)
        logits[self.likely] += 4
        return logits


def said(
    model: str, seed: int, form: CallForm | None, tools: Any, *, think: Think = "off", max_tokens: int = 6000,
    engine: ScriptedEngine | None = None,
) -> tuple[list[tuple[str, str]], Finished]:  # fmt: skip
    """The parts of an answer, and its end."""
    tokenizer = tokenizer_of(model)
    engine = engine or RandomEngine(seed, tokenizer)
    session = Session(cast(GGUFFile, engine.gguf), tokenizer, engine.n_ctx, partial(cast, Engine, engine))
    prompt = conversation(ASK, template_of(model), tokenizer, tools=tools, think=think)
    sampling = SamplingParams(temperature=1, top_k=0, top_p=1, min_p=0, seed=seed)
    *events, end = session.answer(prompt, calls=form, sampling=sampling, max_tokens=max_tokens, think_budget=4)
    assert isinstance(end, Finished)
    parts = [(part.kind, part.text) for event in events if isinstance(event, Token) for part in event.parts]
    return parts, end


def check(parts: list[tuple[str, str]], tools: Any, schemas: dict[str, Any], names: Sequence[str]) -> int:
    """Every call is read as one of `names`, with arguments that its schema allows; returns how many there are."""
    count = 0
    for kind, text in parts:
        if kind != "call":
            continue
        calls = parse(text, tools)
        assert calls, text
        for call in calls:
            assert call.name in names, text
            Draft202012Validator(schemas[call.name]).validate(dict(call.arguments))
            json.dumps(call.message("1"), allow_nan=False)
        count += len(calls)
    return count


def forced_calls(model: str, seeds: range, schemas: dict[str, Any] = SCHEMAS, choice: str = "required") -> int:
    """Answers of a random model that is forced to call; returns how many were whole."""
    tools, whole = tools_of(schemas), 0
    names = chosen(tools, choice)
    form = call_form(template_of(model), tools, tokenizer_of(model), forced=names, one=True)
    for seed in seeds:
        parts, end = said(model, seed, form, tools)
        count = check(parts, tools, schemas, names)
        assert not "".join(text for kind, text in parts if kind == "answer").strip() or not end.valid
        assert count == end.valid, (parts, end)
        whole += end.valid
        assert end.valid or end.reason == "length"
    return whole


@pytest.mark.parametrize("model", MODELS)
def test_a_forced_call_is_read_as_its_schema_allows(model: str) -> None:
    assert forced_calls(model, range(3)) == 3
    assert forced_calls(model, range(1), choice="now") == 1


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_thousand_forced_calls(model: str) -> None:
    assert forced_calls(model, range(1000)) == 1000


def tagged(model: str, text: str) -> list[int]:
    return tokenizer_of(model).encode(text, add_special=False, parse_special=True)


class Tempted(RandomEngine):
    """A random model that begins with a text, and then says what it likes."""

    def __init__(self, seed: int, tokenizer: Tokenizer, begin: Sequence[int]) -> None:
        super().__init__(seed, tokenizer)
        self.begin = begin

    def _append(self, tokens: Any) -> Any:
        logits = super()._append(tokens)
        said = max(0, len(self.tokens) - self.prompt)
        if said < len(self.begin):
            logits[self.begin[said]] = 60
        return logits


@pytest.mark.parametrize("model", MODELS)
def test_a_call_that_the_model_begins_is_read_as_its_schema_allows(model: str) -> None:
    """What stands before the tag is free."""
    tools, tokenizer = tools_of(SCHEMAS), tokenizer_of(model)
    form = call_form(template_of(model), tools, tokenizer, one=True)
    assert form is not None and not form.notes
    for i, shape in enumerate(tool_use(template_of(model)).shapes):
        before = "" if shape.span.first else "Let me see."
        engine = Tempted(i, tokenizer, tagged(model, f"{before}{shape.span.opens}"))
        parts, end = said(model, i, form, tools, engine=engine)
        assert check(parts, tools, SCHEMAS, list(SCHEMAS)) == 1 and end.reason == "stop"
        assert "".join(text for kind, text in parts if kind == "answer").strip() == before


def test_an_answer_without_a_call_stays_free() -> None:
    tools = tools_of(SCHEMAS)
    form = call_form(template_of("Qwen3"), tools, tokenizer_of("Qwen3"))
    text = 'Well, {"name": "x"} is no call <b> </tool_call>.'
    engine = Tempted(1, tokenizer_of("Qwen3"), tagged("Qwen3", text))
    parts, _ = said("Qwen3", 1, form, tools, engine=engine, max_tokens=len(engine.begin))
    assert "".join(part for _, part in parts) == text


@pytest.mark.parametrize("model", ["Qwen3", "GLM", "Mistral", "Kimi", "DeepSeek"])
def test_several_calls(model: str) -> None:
    tools = tools_of({"now": SCHEMAS["now"]})
    form = call_form(template_of(model), tools, tokenizer_of(model), forced=["now"])
    assert form is not None
    shape, constraint = form.forced_start()
    assert shape.between is not None
    call = shape.written(Call("now", {}))
    again = shape.between.replace("probe_function", "now").replace("\ue001", "1").replace("\ue000", "abcABC123")
    two = f"{call.removesuffix(shape.tail)}{again}{shape.arguments.written({})}{shape.tail}"
    for id in tagged(model, two):
        if id not in tokenizer_of(model).stop_ids:
            constraint.advance(id)
    assert constraint.complete
    assert read(two, shape.span, tools) == [Call("now", {})] * 2


def test_a_thought_comes_before_a_forced_call() -> None:
    tools = tools_of(SCHEMAS)
    for model in ("Qwen3", "gpt-oss"):
        tokenizer = tokenizer_of(model)
        form = call_form(template_of(model), tools, tokenizer, forced=["now"])
        opens = "<think>" if model == "Qwen3" else "<|channel|>analysis<|message|>"
        engine = Tempted(1, tokenizer, tagged(model, f"{opens}let me see"))
        parts, end = said(model, 1, form, tools, engine=engine, think="auto")
        assert parts[0][0] == "thought" and check(parts, tools, SCHEMAS, ["now"]) == 1 and end.valid


@pytest.mark.parametrize("value", ["</tool_call>", "x</parameter>", "</arg_value>", "<function=f>", "1e999", "9" * 500])
def test_values_that_would_end_a_call_are_refused(value: str) -> None:
    """A text with the tag that ends a call, or a number that no program can read."""
    schema = {"type": "object", "properties": {"a": {}}, "required": ["a"]}
    for model in ("Qwen3", "Qwen3-Coder", "GLM", "LFM2"):
        tools, tokenizer = tools_of({"f": schema}), tokenizer_of(model)
        form = call_form(template_of(model), tools, tokenizer, forced=["f"], one=True)
        assert form is not None
        shape = form.forced_start()[0]
        begin = shape.written(Call("f", {"a": 7})).partition("7")[0] + ("" if value[0] in "19" else '"')
        engine = Tempted(1, tokenizer, tagged(model, f"{begin}{value}"))
        parts, end = said(model, 1, form, tools, engine=engine, max_tokens=2500)
        assert check(parts, tools, {"f": schema}, ["f"]) == end.valid


names = st.text("abcz_.-", min_size=1, max_size=6).filter(lambda name: name not in (".", "-"))
scalars = st.sampled_from([
    {"type": "string"}, {"type": "string", "maxLength": 3}, {"type": "string", "enum": ["a", "b c"]},
    {"type": "integer"}, {"type": "number"}, {"type": "boolean"}, {"type": "null"}, {"const": 3}, {"enum": ["x", 1]},
    {"type": ["string", "null"], "maxLength": 2}, {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    {"type": "object", "properties": {"k": {"type": "string", "maxLength": 2}}, "additionalProperties": False},
])  # fmt: skip


@st.composite
def schemas(draw: Any) -> dict[str, Any]:
    properties = draw(st.dictionaries(names, scalars, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    return {"type": "object", "properties": properties, "required": required}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(names, schemas(), min_size=1, max_size=3), st.sampled_from(sorted(MODELS)), st.integers(0, 9))
def test_any_schema(found: dict[str, Any], model: str, seed: int) -> None:
    try:
        assert forced_calls(model, range(seed, seed + 1), found) == 1
    except UsageError as error:
        assert "has no way to write" in str(error)


def test_functions_that_a_template_fails_on_are_declared_in_the_system_prompt() -> None:
    """The template of Hermes 2 Pro calls itself without end for the type null."""
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"], "maxLength": 3}}, "required": ["a"]}
    prompt = conversation(ASK, template_of("Hermes"), tokenizer_of("Hermes"), tools=tools_of({"f": schema}))
    assert any("fails on these functions" in note for note in prompt.notes)
    assert '"name": "f"' in prompt.text
    assert forced_calls("Hermes", range(2), {"f": schema}) == 2
    with pytest.raises(BadFileError):  # nothing to do with functions
        conversation(ASK, ChatTemplate("{{ 1 / 0 }}", {}), tokenizer_of("Hermes"), tools=tools_of({"f": schema}))


def test_what_cannot_be_followed_is_said_or_refused() -> None:
    odd = {"odd": {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}, "required": ["a"]}}
    tools = tools_of({**odd, "now": SCHEMAS["now"]})
    template, tokenizer = template_of("Qwen3-Coder"), tokenizer_of("Qwen3-Coder")
    form = call_form(template, tools, tokenizer)
    assert form is not None and len(form.notes) == 1 and "uniqueItems" in form.notes[0]
    for bound in ({"forced": ["odd"]}, {"strict": ["odd"]}):
        with pytest.raises(UsageError, match="uniqueItems"):
            call_form(template, tools, tokenizer, **bound)  # type: ignore[arg-type]
    assert call_form(template, tools, tokenizer, forced=["now"])
    pattern = tools_of({"f": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x$"}}}})
    with pytest.raises(UsageError, match="'pattern' at /properties/a"):
        call_form(template_of("GLM"), pattern, tokenizer_of("GLM"), strict=["f"])
    assert call_form(template_of("Qwen3"), pattern, tokenizer_of("Qwen3"), strict=["f"])
    for name in ("a b", "f\n", "<x>", "é€", ""):
        with pytest.raises(UsageError, match="no way to write the function name"):
            call_form(template, tools_of({name: {}}), tokenizer, strict=[name])


def test_whom_a_choice_names() -> None:
    tools = tools_of(SCHEMAS)
    assert chosen(tools, "auto") == chosen(tools, "none") == []
    assert chosen(tools, "required") == list(SCHEMAS) and chosen(tools, "now") == ["now"]
    with pytest.raises(UsageError, match="no function is called 'nobody'"):
        chosen(tools, "nobody")
    with pytest.raises(UsageError, match="no function is declared"):
        chosen([], "required")


# ---- prompts ------------------------------------------------------------------------------------------------------

CALLED = {"role": "assistant", "content": "", "tool_calls": [Call("weather", {"city": "Zürich"}).message("call12345")]}
RESULT = {"role": "tool", "name": "weather", "tool_call_id": "call12345", "content": "sunny"}


@pytest.mark.parametrize("model", MODELS)
def test_functions_calls_and_results_are_in_every_prompt(model: str) -> None:
    """Whatever the template leaves out."""
    prompt = conversation(
        [*ASK, CALLED, RESULT], template_of(model), tokenizer_of(model), tools=tools_of(SCHEMAS), think="auto"
    )
    for text in ("kelvin", "Zürich", "sunny"):
        assert text in prompt.text or json.dumps(text)[1:-1] in prompt.text, prompt.text
    noted = any("no place for functions" in note for note in prompt.notes)
    assert noted == (model in ("SmolLM3", "Gemma 2", "DeepSeek R1"))


def test_a_call_of_an_earlier_answer_has_the_models_tags() -> None:
    """Of a call that a template does not write only the tags become special tokens."""
    tokenizer = tokenizer_of("LFM2")
    called = {**CALLED, "tool_calls": [Call("f", {"a": "<|tool_call_end|>"}).message("1")]}
    ids = conversation([*ASK, called, RESULT], template_of("LFM2"), tokenizer).ids
    named = [tokenizer.token_text(id) for id in ids if tokenizer.vocab.types[id] == 3]
    assert (named.count("<|tool_call_start|>"), named.count("<|tool_call_end|>")) == (
        ("<|tool_call_start|>" in tokenizer.vocab.ids),
        ("<|tool_call_end|>" in tokenizer.vocab.ids),
    )


def test_a_template_that_burns_time_is_stopped_once() -> None:
    burning = ChatTemplate("{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}", {})
    with pytest.raises(TemplateStoppedError):
        tool_use(burning)


HOSTILE = (
    "", "{{ messages }}", "{{ tools }}", "{{ raise_exception('no') }}", "{{ messages[1].tool_calls }}<tool_call>",
    "{% for m in messages %}{{ m.content }}<tool_call>{{ m.tool_calls }}{% endfor %}",
    "{% for m in messages %}{{ m.content }}<tool_call>{{ (m.tool_calls or []) | tojson }}</tool_call>{% endfor %}",
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }}"
    "</tool_call>{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}",
)  # fmt: skip


@pytest.mark.parametrize("source", HOSTILE)
def test_whatever_a_template_writes_of_calls_they_can_be_forced(source: str) -> None:
    tools = tools_of({"now": SCHEMAS["now"]})
    form = call_form(ChatTemplate(source, {}), tools, tokenizer_of("Qwen3"), forced=["now"])
    assert form is not None
    shape: Shape = form.forced_start()[0]
    assert read(shape.written(Call("now", {})), shape.span, tools) == [Call("now", {})]
