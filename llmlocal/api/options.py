"""What can be said about an answer: the keyword arguments of `generate`, `chat` and `send`, and their checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from ..chat.chat import ChatSettings
from ..chat_format.call_form import chosen as names_to_call
from ..chat_format.thinking import Think
from ..constraints.grammar import Grammar, of_grammar, of_regex, of_schema
from ..constraints.requested import of_text
from ..errors import UsageError
from ..generation.sampling_defaults import INTEGERS, NAMES, check_effects, sampling
from ..generation.session import Session
from ..generation.token_texts import in_ids
from ..hub.catalog import recommended_sampling
from .choice import Choice

Logits = NDArray[np.float32]
LogitsProcessor = Callable[[list[int], Logits], Logits]
TokenSampler = Callable[[list[int], Logits], int]


class Options(TypedDict, total=False):
    """Keyword arguments of `Model.generate`, `Model.chat` and `Chat.send`. None stands for the default."""

    max_tokens: int | None  # maximum number of tokens to generate; default: until the model ends
    temperature: float | None  # 0 always takes the likeliest token; default of all: the model's recommendation,
    top_k: int | None  # otherwise temperature 0.8, top_k 40, top_p 0.95, min_p 0.05
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repeat_penalty: float | None
    repeat_last_n: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    top_n_sigma: float | None
    xtc_probability: float | None
    xtc_threshold: float | None
    dynatemp_range: float | None
    dynatemp_exponent: float | None
    mirostat: int | None  # 1 or 2, in place of all stages but the temperature
    mirostat_tau: float | None
    mirostat_eta: float | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    dry_last_n: int | None
    logit_bias: Mapping[int, float] | None  # added to the logits of these ids; -inf forbids one
    seed: int | None  # the same seed gives the same text; default: a random one
    schema: str | Mapping[str, Any] | None  # JSON that this JSON schema allows, also as "name, age int"
    grammar: str | None  # a text of this grammar, in GBNF or Lark
    regex: str | None  # a text that this regular expression matches, in Rust's notation
    tools: Sequence[Mapping[str, Any]] | None  # functions that the model may call, in OpenAI's notation
    tool_choice: str | None  # "auto" (default), "none", "required", or the name of the function to call
    stop: str | Sequence[str] | None  # end before any of these texts
    template: str | None  # a built-in chat template's name, or a Jinja file; default: the model's own
    think: Think | None  # "on", "off", or "auto" (default), which leaves it to the model
    think_budget: int | None  # end the thought after this many tokens
    logits_processor: LogitsProcessor | None  # (ids, logits (vocab_size,) float32) -> logits, before every choice
    sampler: TokenSampler | None  # (ids, logits (vocab_size,) float32) -> id, instead of the built-in sampler


class PromptOptions(Options, total=False):
    """Keyword arguments of `Model.generate`."""

    system: str | None  # system prompt; default: none, unless the chat template has one
    raw: bool  # continue the text as it is, without a chat template


CHOOSE = ("logits_processor", "sampler")
FORMS = ("schema", "grammar", "regex")
SAMPLING = (*NAMES, "logit_bias")
WHOLE_NUMBERS = (*INTEGERS, "max_tokens", "think_budget")


def given(*options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a dictionary without those that are None; later ones win. Raises UsageError for a bad one."""
    merged = {name: value for some in options for name, value in some.items() if value is not None}
    for name, value in merged.items():
        _check(name, value)
    check_effects(merged)
    forms = [name for name in FORMS if name in merged]
    if len(forms) > 1:
        raise UsageError(f"{forms[0]} and {forms[1]} exclude each other: an answer has one form")
    replaced = [name for name in SAMPLING if name in merged]
    if "sampler" in merged and replaced:
        hint = f"leave out {replaced[0]}, or change the logits with logits_processor"
        raise UsageError(f"sampler and {replaced[0]} exclude each other: a sampler of your own chooses alone", hint)
    return merged


def settings(session: Session, options: Mapping[str, Any]) -> tuple[ChatSettings, Choice]:
    """How to answer with `options`, checked by `given`, as `llmlocal run` would; and what chooses the tokens.

    Raises UsageError for a value that is out of range.
    """
    values = {name: options[name] for name in SAMPLING if name in options}
    values = in_ids(values, session.tokenizer)
    params = sampling(session.gguf.metadata, values, recommended_sampling(session.gguf.path))
    choice = Choice(params, *(options.get(name) for name in CHOOSE))
    stop = options.get("stop", ())
    chosen = ChatSettings(
        params,
        options.get("max_tokens"),
        [stop] if isinstance(stop, str) else stop,
        options.get("think", "auto"),
        options.get("think_budget"),
        options.get("template"),
        sampler=choice,
    )
    chosen.grammar = _form(options)
    chosen.tools, chosen.tool_choice = options.get("tools", ()), options.get("tool_choice", "auto")
    names_to_call(chosen.tools, chosen.tool_choice)
    return chosen, choice


def _form(options: Mapping[str, Any]) -> Grammar | None:
    """The form that the answer must have. Raises UsageError for what is wrong in it."""
    if "schema" in options:
        schema = options["schema"]
        return of_text(schema) if isinstance(schema, str) else of_schema(schema)
    if "grammar" in options:
        return of_grammar(options["grammar"])
    return of_regex(options["regex"]) if "regex" in options else None


def _check(name: str, value: Any) -> None:
    """Raises UsageError for an unknown option, or a value of a kind that it cannot have."""
    if name not in Options.__annotations__:
        near = get_close_matches(name, Options.__annotations__, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(Options.__annotations__)}"
        raise UsageError(f"there is no option {name}", hint)
    if name in CHOOSE:
        require(callable(value), name, value, "a function of (ids, logits)")
    elif name in WHOLE_NUMBERS:
        require(isinstance(value, int) and not isinstance(value, bool), name, value, "a whole number")
    elif name in NAMES:
        require(isinstance(value, int | float) and not isinstance(value, bool), name, value, "a number")
    elif name == "logit_bias":
        number = isinstance(value, Mapping) and all(isinstance(v, int | float) for v in value.values())
        require(number and all(isinstance(id, int) for id in value), name, value, "a dictionary of ids and numbers")
    elif name == "tools":
        listed = isinstance(value, Sequence) and all(isinstance(tool, Mapping) for tool in value)
        named = listed and all(isinstance(tool.get("function", {}).get("name"), str) for tool in value)
        require(named, name, value, 'a list of {"type": "function", "function": {"name": ..., "parameters": {...}}}')
    elif name == "tool_choice":
        require(isinstance(value, str), name, value, '"auto", "none", "required" or the name of a function')
    elif name == "stop":
        listed = isinstance(value, Sequence) and all(isinstance(text, str) for text in value)
        require(listed and not isinstance(value, bytes), name, value, "a text or a list of texts")
    elif name == "think":
        require_one_of(name, value, get_args(Think))
    elif name == "template":
        require(isinstance(value, str), name, value, "a template's name or a file")
    elif name == "schema":
        require(isinstance(value, str | Mapping), name, value, "a JSON schema, as a dictionary or a text")
    elif name in FORMS:
        require(isinstance(value, str), name, value, "a text")
    if name in ("max_tokens", "think_budget"):
        require(value >= 0, name, value, "0 or more")


def require(holds: bool, name: str, value: object, wanted: str) -> None:
    """Raises UsageError that says what an argument must be."""
    if not holds:
        raise UsageError(f"{name} is {value!r}: must be {wanted}")


def require_one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raises UsageError for a value that is none of the words `allowed`."""
    require(value in allowed, name, value, f"one of {', '.join(map(repr, allowed))}")
