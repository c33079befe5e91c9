"""A record of one answer: how it was asked for, the tokens of prompt and answer, and where it was made.

Its JSON is described by docs/schemas/record.schema.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..chat_format.prompt import Prompt
from ..chat_format.thinking import ThinkingStyle
from ..constraints.grammar import Grammar, checked
from ..errors import BadFileError, LlmlocalError
from ..files.atomic_file import atomic_file
from ..files.small_file import read_small
from ..generation.events import Events, Finished, Token
from ..generation.sampling_defaults import valid
from ..generation.sampling_params import SamplingParams
from ..generation.session import Session
from ..generation.token_texts import BAN, in_ids
from ..text import escaped
from .environment import environment, model_files

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

KIND, VERSION = "llmlocal.record", 1
WEIGHTS = ("auto", "map", "copy")
MOST = 256 << 20  # bytes of a record that are read
STRUCTURED = ("logit_bias", "ban", "dry_breakers", "stages")  # sampling parameters that are no numbers


class Question(NamedTuple):
    """How an answer is asked for, as `Session.answer` takes it."""

    max_tokens: int | None
    sampling: SamplingParams
    stop: Sequence[str] = ()
    think_budget: int | None = None
    grammar: Grammar | None = None

    def arguments(self) -> dict[str, Any]:
        """As arguments of `Session.answer`."""
        return self._asdict()


class Record(NamedTuple):
    """One answer. `settings` are those of `Session.open`; `answer` are its tokens."""

    path: str
    files: list[dict[str, Any]]
    environment: dict[str, str]
    settings: dict[str, Any]
    prompt: Prompt
    asked: dict[str, Any]
    answer: list[int]
    lora_digest: str = ""  # of what adapters add

    def how(self, tokenizer: Tokenizer) -> Question:
        """How the answer is asked for of a model with this tokenizer.

        Raises BadFileError for what cannot be asked, and for tokens that the model does not have.
        """
        if max(self.prompt.ids, default=0) >= tokenizer.n_vocab:
            raise BadFileError(
                "the prompt of the record has tokens that the model does not have",
                "--model names the one that answered",
            )
        try:
            a, grammar = self.asked, self.asked["grammar"]
            form = grammar and checked(Grammar(grammar["compiled"], grammar["json"] is True), "the recorded form")
            most, budget = (None if a[name] is None else _number(a[name]) for name in ("max_tokens", "think_budget"))
            return Question(most, _sampling(a["sampling"], tokenizer), [*map(str, a["stop"])], budget, form)
        except (LlmlocalError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadFileError(f"the record does not say how to answer: {escaped(str(error))[:200]}") from None


def recorded(path: Path, session: Session, prompt: Prompt, asked: Question, events: Events, *, settings: Any) -> Events:
    """Pass on the events of an answer, and write its record when it has ended.

    `settings` are arguments of `Session.open`. Raises as `atomic_file` and `model_files`.
    """
    tokens: list[Token] = []
    for event in events:
        tokens += [event] if isinstance(event, Token) else []
        if isinstance(event, Finished):
            _write(path, session, prompt, asked, tokens, event, settings)
        yield event


def _write(
    path: Path, session: Session, prompt: Prompt, asked: Question, tokens: list[Token], end: Finished, settings: Any
) -> None:
    text = "".join(part.text for token in tokens for part in token.parts if part.kind == "answer")
    found = {
        "schema": VERSION,
        "kind": KIND,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {"path": str(session.gguf.path.absolute()), "files": model_files(session.gguf)},
        "environment": environment(),
        "settings": {**settings, "n_ctx": session.n_ctx, **_adapters(session)},
        "prompt": _prompt_as_json(prompt),
        "asked": {
            "max_tokens": asked.max_tokens,
            "sampling": _as_json(asked.sampling, end.seed),
            "stop": [*asked.stop],
            "think_budget": asked.think_budget,
            "grammar": asked.grammar and asked.grammar._asdict(),
        },
        "answer": {"ids": [token.id for token in tokens], "text": text, "finish_reason": end.reason},
    }
    with atomic_file(path, force=True) as out:
        out.write(json.dumps(found, indent=1).encode() + b"\n")


def _adapters(session: Session) -> dict[str, Any]:
    """The adapters, and a digest of what they add; nothing without any."""
    found = [{"path": str(path.absolute()), "scale": scale} for path, scale in session.lora]
    return {"lora": found, "lora_digest": session.lora_digest} if found else {}


def _prompt_as_json(prompt: Prompt) -> dict[str, Any]:
    values = {name: value for name, value in prompt._asdict().items() if name != "notes"}
    return {**values, "style": prompt.style._asdict()}


def _as_json(params: SamplingParams, seed: int) -> dict[str, Any]:
    """Sampling parameters as JSON has them, with the seed that was drawn."""
    values = {of.name: getattr(params, of.name) for of in fields(params) if of.name not in STRUCTURED}
    return {
        **values,
        "seed": seed,
        "stages": [*params.stages],
        "logit_bias": {str(id): "-inf" if bias == -inf else bias for id, bias in params.logit_bias.items()},
        "dry_breakers": sorted(params.dry_breakers),
        "ban": [text.decode("utf-8", "surrogateescape") for text in params.ban.texts] if params.ban else [],
    }


def _sampling(values: Mapping[str, Any], tokenizer: Tokenizer) -> SamplingParams:
    numbers = {name: value for name, value in values.items() if name not in STRUCTURED}
    if valid(numbers) != numbers:
        raise ValueError(f"wrong sampling parameter {next(iter(numbers.keys() - valid(numbers).keys()))}")
    return SamplingParams(
        **numbers,
        stages=tuple(values["stages"]),
        logit_bias={int(id): float(bias) for id, bias in values["logit_bias"].items()},
        dry_breakers=frozenset(values["dry_breakers"]),
        **in_ids({BAN: values["ban"]} if values["ban"] else {}, tokenizer),
    )


def read(path: Path) -> Record:
    """A record from its file. Raises NotFoundError, and BadFileError where it is not a record of this version."""
    name, data = escaped(str(path)), read_small(path, MOST)
    try:
        found = json.loads(data)
        if not isinstance(found, dict) or found.get("kind") != KIND:
            raise ValueError("it is another kind of file")
        if found["schema"] != VERSION:
            raise BadFileError(f"{name}: a record of version {escaped(str(found['schema']))[:20]}, not {VERSION}")
        return _record(found)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        said = escaped(str(error))[:200] if isinstance(error, ValueError) else "a field is missing or has another form"
        hint = "llmlocal run --record FILE makes one"
        raise BadFileError(f"{name}: is not a record of llmlocal: {said}", hint) from None


def _record(found: Any) -> Record:
    """Raises what reading a table of another form raises."""
    settings, prompt = found["settings"], dict(found["prompt"])
    n_ctx = _number(settings["n_ctx"])
    if not n_ctx or settings["weights"] not in WEIGHTS:
        raise ValueError("a model cannot be opened in this way")
    lora = [(Path(str(one["path"])), _scale(one["scale"])) for one in settings.get("lora", [])]
    style = ThinkingStyle(**{**prompt["style"], "drops": tuple(map(str, prompt["style"]["drops"]))})
    flags: dict[str, Any] = {name: prompt[name] is True for name in ("continues", "chat", "opened", "may_think")}
    files = [{"name": str(file["name"]), "sha256": str(file["sha256"])} for file in found["model"]["files"]]
    return Record(
        str(found["model"]["path"]),
        files,
        {str(name): str(value) for name, value in found["environment"].items()},
        {"n_ctx": n_ctx, "kv_type": str(settings["kv_type"]), "weights": settings["weights"], "lora": lora},
        Prompt(str(prompt["text"]), [_number(id) for id in prompt["ids"]], style=style, **flags),
        dict(found["asked"]),
        [_number(id) for id in found["answer"]["ids"]],
        str(settings.get("lora_digest", "")),
    )


def _scale(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e9:
        raise ValueError(f"{value!r:.40} is not the scale of an adapter")
    return float(value)


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a number of tokens or a token")
    return value
