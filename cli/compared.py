"""A comparison as tables of 80 columns, as bars and as a record. Draws nothing itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..memory import in_words
from .tables import BAR, bar
from .ui import one_line

if TYPE_CHECKING:
    from ..comparison import Comparison, Contender

LABEL = 13
SEPARATORS = "-_. "


def table(found: Comparison) -> Iterator[str]:
    """What each model takes and how fast it is; then what it predicts."""
    names = labels([model.path for model in found.models])
    shown = [f"{name:<{LABEL}}" for name in names]
    yield f"{'':<{LABEL}}  {'file':>9}  {'bits/weight':>11}  {'memory':>9}  {'prompt':>11}  {'answer':>11}"
    for label, model in zip(shown, found.models, strict=True):
        bits = f"{model.about.bits_per_weight or 0:.2f}"
        sizes = f"{in_words(model.about.n_bytes):>9}  {bits:>11}  {in_words(model.about.memory.total):>9}"
        yield f"{label}  {sizes}  {model.prefill_speed:>7.1f} t/s  {model.decode_speed:>7.1f} t/s"
    yield ""
    yield f"{'':<{LABEL}} {'perplexity':>15}  {'KL divergence':>17}  {'99 %':>6}  {'max':>6}  {'top-1':>6}  {'answer':>6}"
    for label, model in zip(shown, found.models, strict=True):
        p = model.perplexity
        line = f"{label} {p.value:>7.3f} ± {p.error:<5.3f}"
        yield line if model is found.reference else f"{line}  {_predictions(found, model)}"
    first, n = found.reference, found.reference.perplexity.n_tokens
    chunks = f"{found.chunks} chunk{'s' * (found.chunks != 1)} of {found.way.n_ctx}"
    yield f"{n} tokens scored, {chunks}; reference: {one_line(first.path.name)}"


def bars(found: Comparison) -> Iterator[str]:
    """A bar for each candidate's mean KL divergence; nothing to see in a single one."""
    most = max(model.divergence.mean for model in found.candidates)
    if len(found.candidates) < 2 or not most > 0:
        return
    yield "KL divergence"
    names = labels([model.path for model in found.models])[1:]
    for name, model in zip(names, found.candidates, strict=True):
        mean = model.divergence.mean
        yield f"  {name:<{LABEL}}  {bar(max(0.0, mean / most)):<{BAR}} {mean:.5f}"


def record(found: Comparison, text: Path | None) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "text": None if text is None else str(text),
        "ctx": found.way.n_ctx,
        "chunks": found.chunks,
        "tokens": found.reference.perplexity.n_tokens,
        "prompt": found.way.prompt,
        "answer_tokens": len(found.answer),
        "reference": _figures(found.reference),
        "candidates": [_figures(model) | _distance(found, model) for model in found.candidates],
    }


def above(found: Comparison, limit: float) -> list[str]:
    """Names and figures of the candidates whose mean is not within the limit."""
    names = labels([model.path for model in found.models])[1:]
    means = [(name, model.divergence.mean) for name, model in zip(names, found.candidates, strict=True)]
    return [f"{name} {mean:.5f}" for name, mean in means if not mean <= limit]


def labels(paths: Sequence[Path]) -> list[str]:
    """Names of at most LABEL characters: what differs in the files' names, of long ones the end."""
    stems = [one_line(path.stem) for path in paths]
    common = os.path.commonprefix(stems)
    cut = max((common.rfind(mark) for mark in SEPARATORS), default=-1) + 1
    short = [stem[cut:] for stem in stems]
    if not all(short) or len(set(short)) < len(set(stems)):
        short = stems
    return [name if len(name) <= LABEL else f"…{name[1 - LABEL :]}" for name in short]


def _predictions(found: Comparison, model: Contender) -> str:
    d, same = model.divergence, model.same_tokens
    answer = "same" if same == len(found.answer) else f"{same}/{len(found.answer)}"
    kl = f"{d.mean:.5f} ± {d.error:.5f}"
    return f"{kl:>17}  {d.worst:>6.4f}  {d.largest:>6.3f}  {d.same_best:>6.1%}  {answer:>6}"


def _figures(model: Contender) -> dict[str, Any]:
    return {
        "path": str(model.path),
        "bytes": model.about.n_bytes,
        "bits_per_weight": model.about.bits_per_weight,
        "memory_bytes": model.about.memory.total,
        "prompt_tokens_per_second": model.prefill_speed,
        "answer_tokens_per_second": model.decode_speed,
        "perplexity": model.perplexity.value,
        "perplexity_error": model.perplexity.error,
    }


def _distance(found: Comparison, model: Contender) -> dict[str, Any]:
    d, (ratio, error) = model.divergence, model.log_ratio(found.reference)
    return {
        "log_perplexity_ratio": ratio,
        "log_perplexity_ratio_error": error,
        "kl_mean": d.mean,
        "kl_error": d.error,
        "kl_99": d.worst,
        "kl_max": d.largest,
        "top1": d.same_best,
        "same_tokens": model.same_tokens,
    }
