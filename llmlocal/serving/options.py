"""What requests of all protocols may say about an answer, and the requests to the scheduler that follow from it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..chat_format.call_form import CallForm
from ..chat_format.prompt import Prompt
from ..chat_format.thinking import Think
from ..errors import UsageError
from ..generation.sampler import Sampler
from ..generation.sampling_defaults import INTEGERS, NAMES
from ..generation.sampling_params import SamplingParams
from ..scheduler.request import Request
from .forms import Form
from .http.errors import ApiError, refused
from .http.fields import Fields
from .text_model import TextModel

MOST_STOPS, STOP_LENGTH = 16, 1000
MOST_CHOICES, MOST_BIASES, MOST_LOGPROBS = 16, 1024, 20
OR_MINUS_ONE = ("top_k", "repeat_last_n", "dry_last_n", "seed")  # -1 stands for all tokens, and for any seed
OTHER_NAMES = {"dry_penalty_last_n": "dry_last_n", "typ_p": "typical_p"}  # of llama.cpp -> ours
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
# Fields that change nothing about an answer.
HARMLESS = (
    *("user", "metadata", "store", "safety_identifier", "prediction"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "cache_prompt"),
)
# What llama.cpp's clients send to speed up its server, or to be told how fast it is.
HINTS = ("t_max_prompt_ms", "t_max_predict_ms", "n_indent", "id_slot", "timings_per_token", "return_progress")


@dataclass(slots=True)
class Options:
    """How to answer: sampling parameters that were given, limits, and how many answers (`n`)."""

    sampling: dict[str, Any]
    max_tokens: int | None = None
    stop: list[str] = field(default_factory=list)
    n: int = 1
    logprobs: int | None = None
    think: Think = "auto"
    effort: str | None = None
    think_budget: int | None = None
    form: Form | None = None

    async def requests(
        self, model: TextModel, prompts: Sequence[Prompt], calls: CallForm | None = None
    ) -> list[Request]:
        """A request for each of the `n` answers to each prompt; seeds after the first follow on the one given.

        Raises UsageError for a parameter that is out of range, ApiError for a bias of something that is not a token and
        for a form that cannot be followed.
        """
        params = model.sampling({name: value for name, value in self.sampling.items() if name != "logit_bias"})
        biases = _biases(self.sampling.get("logit_bias"), model.tokenizer.n_vocab)
        grammar = None if self.form is None else await asyncio.to_thread(self.form.grammar, model.tokenizer)
        return [
            Request(
                prompt,
                Sampler(_seeded(params, biases, i)),
                self.max_tokens,
                self.stop,
                self.think_budget,
                calls,
                self.logprobs,
                grammar,
            )
            for prompt in prompts
            for i in range(self.n)
        ]


def sampling_fields(fields: Fields) -> dict[str, Any]:
    """The sampling parameters of a request: OpenAI's names, and those of `llmlocal run`."""
    found: dict[str, Any] = {name: _parameter(fields, name, name) for name in NAMES}
    for other, name in OTHER_NAMES.items():
        value = _parameter(fields, other, name)
        if value is not None and found[name] is not None:
            raise refused(fields.place(other), f"is another name of {name}: give one of them")
        found[name] = found[name] if value is None else value
    found["logit_bias"] = fields.mapping("logit_bias")
    found["seed"] = None if found["seed"] == -1 else found["seed"]
    found["top_k"] = 0 if found["top_k"] == -1 else found["top_k"]
    given = {name: value for name, value in found.items() if value is not None}
    try:
        SamplingParams(**{name: value for name, value in given.items() if name != "logit_bias"})
    except UsageError as error:
        raise ApiError(400, str(error), str(error).partition(" ")[0], "invalid_value") from None
    return given


def _parameter(fields: Fields, field: str, name: str) -> float | None:
    """The value of the sampling parameter `name`, which stands in `field`."""
    if name not in INTEGERS:
        return fields.number(field)
    return fields.whole(field, -1 if name in OR_MINUS_ONE else 0, (1 << 64) - 1)


def limit_field(fields: Fields, *names: str, default: int | None = None) -> int | None:
    """The most tokens of an answer, the least of several fields; None without a limit, which is -1 in llama.cpp."""
    given = [limit for name in names if (limit := fields.whole(name, -1)) is not None]
    return min((limit for limit in given if limit >= 0), default=None) if given else default


def stop_field(fields: Fields, name: str = "stop") -> list[str]:
    """Stop strings: one, or a list."""
    value = fields.any(name)
    listed = [value] if isinstance(value, str) else value or []
    good = isinstance(listed, list) and len(listed) <= MOST_STOPS
    if not good or not all(isinstance(text, str) and 0 < len(text) <= STOP_LENGTH for text in listed):
        said = f"must be a string or up to {MOST_STOPS} strings, of 1 to {STOP_LENGTH} characters each"
        raise refused(fields.place(name), said)
    return list(listed)


def thinking_fields(fields: Fields, options: Options) -> None:
    """`reasoning_effort`, and `enable_thinking` of `chat_template_kwargs`: whether and how much the model thinks."""
    effort = fields.choice("reasoning_effort", EFFORTS)
    if effort is not None:
        options.think, options.effort = ("off", None) if effort == "none" else ("auto", effort)
    template = fields.object("chat_template_kwargs")
    if template is not None:
        switch = template.any("enable_thinking")
        if switch is not None:
            options.think = "on" if template.flag("enable_thinking") else "off"
        template.done()
    options.think_budget = fields.whole("think_budget")


def _seeded(params: SamplingParams, biases: Mapping[int, float], i: int) -> SamplingParams:
    seed = None if params.seed is None else (params.seed + i) % (1 << 64)
    return replace(params, seed=seed, logit_bias=biases)


def _biases(given: Mapping[str, Any] | None, n_vocab: int) -> dict[int, float]:
    if given is None:
        return {}
    biases: dict[int, float] = {}
    for id, value in given.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 100
        if not (id.isascii() and id.isdecimal() and len(id) < 10 and int(id) < n_vocab and number):
            said = f"must be an object of token ids, 0 to {n_vocab - 1}, with numbers between -100 and 100"
            raise refused("logit_bias", said)
        biases[int(id)] = float(value)
    if len(biases) > MOST_BIASES:
        raise refused("logit_bias", f"must have {MOST_BIASES} tokens at most")
    return biases
