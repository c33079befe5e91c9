"""A comparison as tables of 80 columns, as a chart and as a record. Draws nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...text import counted, format_bytes
from ..ui.tables import Chart
from ..ui.terminal import one_line

if TYPE_CHECKING:
    from ...measure.comparison import Comparison, ModelResult

LABEL = 13
SEPARATORS = "-. "  # not _: Q4_0 and Q4_K_M are names


def table(found: Comparison) -> Iterator[str]:
    """What each model takes and how fast it is; then what it predicts."""
    names = labels([model.path for model in found.models])
    shown = [f"{name:<{LABEL}}" for name in names]
    yield f"{'':<{LABEL}}  {'file':>9}  {'bits/weight':>11}  {'memory':>9}  {'prompt':>11}  {'answer':>11}"
    for label, model in zip(shown, found.models, strict=True):
        bits = f"{model.about.bits_per_weight or 0:.2f}"
        sizes = f"{format_bytes(model.about.n_bytes):>9}  {bits:>11}  {format_bytes(model.about.memory.total):>9}"
        speeds = "  ".join(f"{fit(x, 7, 1)} t/s" for x in (model.prefill_speed, model.decode_speed))
        yield f"{label}  {sizes}  {speeds}"
    yield ""
    heads = f"{'perplexity':>15}  {'KL divergence':>17}  {'99 %':>6}  {'max':>6}  {'top-1':>6}  {'answer':>6}"
    yield f"{'':<{LABEL}} {heads}"
    for label, model in zip(shown, found.models, strict=True):
        p = model.perplexity
        line = f"{label} {fit(p.value, 7, 3)} ± {fit(p.error, 5, 3)}"
        yield line if model is found.reference else f"{line}  {_predictions(found, model)}"
    n = found.reference.perplexity.n_tokens
    chunks = f"{counted(found.chunks, 'chunk')} of {found.options.n_ctx}"
    yield f"{n} tokens scored, {chunks}; reference: {names[0]}"
    yield "99 %, max: of the KL divergence; answer: tokens of a greedy answer that agree"


def divergence_charts(found: Comparison) -> Iterator[Chart]:
    """The mean KL divergences of several candidates; nothing to see in a single one."""
    means = [model.divergence.mean for model in found.candidates]
    if len(means) > 1 and max(means) > 0:
        names = labels([model.path for model in found.models])[1:]
        bars = [(name, max(0.0, mean), f"{mean:.5f}") for name, mean in zip(names, means, strict=True)]
        yield Chart("KL divergence", bars)


def record(found: Comparison, text: Path | None) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "text": None if text is None else str(text),
        "ctx": found.options.n_ctx,
        "chunks": found.chunks,
        "tokens": found.reference.perplexity.n_tokens,
        "prompt": found.options.prompt,
        "answer_tokens": len(found.answer),
        "reference": _figures(found.reference),
        "candidates": [_figures(model) | _distance(found, model) for model in found.candidates],
    }


def over_limit(found: Comparison, limit: float) -> list[str]:
    """Names and mean KL divergences of the candidates that are over the limit."""
    names = labels([model.path for model in found.models])[1:]
    means = [(name, model.divergence.mean) for name, model in zip(names, found.candidates, strict=True)]
    return [f"{name} {mean:.5f}" for name, mean in means if not mean <= limit]


def labels(paths: Sequence[Path]) -> list[str]:
    """Names of at most LABEL characters: what differs in the files' names, of long ones the end."""
    stems = [one_line(path.stem) for path in paths]
    first, last = min(stems), max(stems)  # what these two share, all share
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    cut = max(first[:same].rfind(mark) for mark in SEPARATORS) + 1
    short = [stem[cut:] for stem in stems]
    if not all(short) or len(set(short)) < len(set(stems)):
        short = stems
    return [name if len(name) <= LABEL else f"…{name[1 - LABEL :]}" for name in short]


def fit(value: float, width: int, digits: int) -> str:
    """A number in `width` characters, with at most `digits` behind the point."""
    texts = (f"{value:.{n}f}" for n in range(digits, -1, -1))
    return next((text for text in texts if len(text) <= width), f"{value:.0e}").rjust(width)


def _predictions(found: Comparison, model: ModelResult) -> str:
    d, same = model.divergence, model.same_tokens
    answer = "same" if same == len(found.answer) else f"{same}/{len(found.answer)}"
    kl = f"{fit(d.mean, 7, 5)} ± {fit(d.error, 7, 5)}"
    return f"{kl}  {fit(d.worst, 6, 4)}  {fit(d.largest, 6, 3)}  {d.same_best:>6.1%}  {answer:>6}"


def _figures(model: ModelResult) -> dict[str, Any]:
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


def _distance(found: Comparison, model: ModelResult) -> dict[str, Any]:
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
