"""Plans and results of a quantization, in words and as records. Draws nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...text import format_bytes
from ..ui.terminal import Screen, one_line

if TYPE_CHECKING:
    from ...measure.divergence import Divergence
    from ...requantize.plan import Listed
    from ...requantize.run import Ready, Request
    from ...requantize.source import Model
    from ...requantize.write import Done, Result


def completed(request: Request, split_size: str | None, effort: str, threads: int | None, measure: bool) -> Request:
    """The request with how it is to be carried out."""
    return replace(request, split_size=split_size, effort=effort, threads=threads, measure=measure)


def list_lines(rows: Sequence[Listed]) -> Iterator[str]:
    """A table of the types for one model."""
    yield f"{'type':<10}  {'bits per weight':>15}  {'file':>9}  {'memory':>9}"
    for row in rows:
        sizes = f"{format_bytes(row.nbytes):>9}  {format_bytes(row.memory):>9}"
        yield f"{row.mix:<10}  {row.bits_per_weight:>15.2f}  {sizes}"


def list_record(model: Model, rows: Sequence[Listed]) -> dict[str, Any]:
    types = [
        {"type": r.mix, "bits_per_weight": r.bits_per_weight, "bytes": r.nbytes, "memory_bytes": r.memory} for r in rows
    ]
    return {"source": str(model.path), "types": types}


def plan_lines(ready: Ready) -> Iterator[str]:
    """What each tensor is and becomes."""
    formats = {tensor.name: tensor.format.name for tensor in ready.model.tensors}
    for info in ready.plan.infos:
        shape = " x ".join(map(str, info.shape))
        change = f"{formats[info.name]} -> {info.format.name}"
        yield f"{one_line(info.name):<32}  {shape:<16}  {change:<16}  {format_bytes(info.nbytes):>9}"
    yield f"{ready.out.name}: {_summary(ready)}; nothing was written"


def plan_record(ready: Ready) -> dict[str, Any]:
    formats = {tensor.name: tensor.format.name for tensor in ready.model.tensors}
    tensors = [
        {"name": i.name, "shape": i.shape, "from": formats[i.name], "to": i.format.name, "bytes": i.nbytes}
        for i in ready.plan.infos
    ]
    return _head(ready) | {"path": str(ready.out), "bytes": ready.plan.nbytes, "tensors": tensors}


def result_lines(ready: Ready, result: Result, found: Divergence | None) -> Iterator[str]:
    """The files, and what it cost."""
    for path in result.paths:
        yield one_line(str(path))
    yield _summary(ready)
    if result.error.total:
        yield f"relative RMSE {result.error.relative:.5f} of what was quantized"
    if result.usual.lost:
        yield f"--effort high: {1 - result.error.relative / result.usual.relative:.2%} less than without"
    if found is not None:
        yield (
            f"on {len(found.kl)} tokens of text: KL divergence {found.mean:.5f} ± {found.error:.5f}, "
            f"99 % below {found.worst:.5f}, same best token {found.same_best:.1%}"
        )


def result_record(ready: Ready, result: Result, found: Divergence | None) -> dict[str, Any]:
    record = _head(ready) | {"paths": [str(path) for path in result.paths], "bytes": result.nbytes}
    if result.error.total:
        record["relative_rmse"] = result.error.relative
    if result.usual.lost:
        record["relative_rmse_of_normal_effort"] = result.usual.relative
    if found is not None:
        record |= {"kl_mean": found.mean, "kl_error": found.error, "kl_99": found.worst, "top1": found.same_best}
    return record


class Progress:
    """Told of each tensor: a line on the terminal, or with `verbose` one for each with its error."""

    def __init__(self, screen: Screen, verbose: bool) -> None:
        self._screen, self._verbose = screen, verbose

    def __call__(self, done: Done) -> None:
        self._screen.progress("quantizing", done.done >> 20, done.total >> 20, " MiB", f", {done.info.name}")
        if self._verbose:
            error = f"relative RMSE {done.error.relative:.5f}" if done.error.total else "as it was"
            self._screen.notes([f"{done.number:>4} {done.info.name:<32} {done.info.format.name:<7} {error}"])


def checked(reference: Path, candidate: Path, threads: int | None, screen: Screen) -> Divergence:
    """The divergence on a page of text, with progress."""
    from ...requantize.check import check

    return check(reference, candidate, threads, lambda done, total: screen.progress("checking", done, total, " tokens"))


def _head(ready: Ready) -> dict[str, Any]:
    plan = ready.plan
    return {"source": str(ready.model.path), "type": plan.mix, "bits_per_weight": plan.bits_per_weight}


def _summary(ready: Ready) -> str:
    plan = ready.plan
    return f"{plan.mix}, {plan.bits_per_weight:.2f} bits per weight, {format_bytes(plan.nbytes)}"
