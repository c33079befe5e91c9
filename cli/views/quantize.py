"""Plans and results of `quantize` and `convert` as lines of text and as records for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...text import format_bytes
from ..ui.terminal import Screen, one_line

if TYPE_CHECKING:
    from ...measure.divergence import Divergence
    from ...quantize.convert import ConvertedModel
    from ...quantize.prepare import PreparedQuantization
    from ...quantize.source import TensorSource
    from ...quantize.type_sizes import TypeSize
    from ...quantize.write import TensorWritten, WriteResult


def list_lines(rows: Sequence[TypeSize]) -> Iterator[str]:
    """A table of the types that a model can have."""
    from ...quant.recipes import TERNARY

    yield f"{'type':<10}  {'bits per weight':>15}  {'file':>9}  {'memory':>9}"
    for row in rows:
        sizes = f"{format_bytes(row.nbytes):>9}  {format_bytes(row.memory):>9}"
        mark = "  needs --imatrix" if row.needs_imatrix else "  for ternary weights" if row.type_name in TERNARY else ""
        yield f"{row.type_name:<10}  {row.bits_per_weight:>15.2f}  {sizes}{mark}"


def list_record(source: TensorSource, rows: Sequence[TypeSize]) -> dict[str, Any]:
    types = [
        {
            "type": r.type_name,
            "bits_per_weight": r.bits_per_weight,
            "bytes": r.nbytes,
            "memory_bytes": r.memory,
            "needs_imatrix": r.needs_imatrix,
        }
        for r in rows
    ]
    return {"source": str(source.path), "types": types}


def plan_lines(prepared: PreparedQuantization) -> Iterator[str]:
    """A line for each tensor: shape, types before and after, size."""
    formats = {tensor.name: tensor.format.name for tensor in prepared.source.tensors}
    for info in prepared.plan.tensors:
        shape = " x ".join(map(str, info.shape))
        change = f"{formats[info.name]} -> {info.format.name}"
        yield f"{one_line(info.name):<32}  {shape:<16}  {change:<16}  {format_bytes(info.nbytes):>9}"
    yield f"{prepared.out.name}: {_summary(prepared)}; nothing was written"


def plan_record(prepared: PreparedQuantization) -> dict[str, Any]:
    formats = {tensor.name: tensor.format.name for tensor in prepared.source.tensors}
    tensors = [
        {"name": i.name, "shape": i.shape, "from": formats[i.name], "to": i.format.name, "bytes": i.nbytes}
        for i in prepared.plan.tensors
    ]
    return _head(prepared) | {"path": str(prepared.out), "bytes": prepared.plan.nbytes, "tensors": tensors}


def result_lines(prepared: PreparedQuantization, result: WriteResult, found: Divergence | None) -> Iterator[str]:
    """The files, their size, and the measured loss."""
    for path in result.paths:
        yield one_line(str(path))
    yield _summary(prepared)
    if result.error.total:
        yield f"relative RMSE of the quantized tensors: {result.error.relative:.5f}"
    if result.normal_error.lost:
        gain = 1 - result.error.relative / result.normal_error.relative
        yield f"--effort high: {gain:.2%} less error than normal effort"
    if found is not None:
        yield (
            f"on {len(found.kl)} tokens of text: KL divergence {found.mean:.5f} ± {found.error:.5f}, "
            f"99 % below {found.worst:.5f}, same top token {found.same_best:.1%}"
        )


def result_record(prepared: PreparedQuantization, result: WriteResult, found: Divergence | None) -> dict[str, Any]:
    record = _head(prepared) | {"paths": [str(path) for path in result.paths], "bytes": result.nbytes}
    if result.error.total:
        record["relative_rmse"] = result.error.relative
    if result.normal_error.lost:
        record["relative_rmse_of_normal_effort"] = result.normal_error.relative
    if found is not None:
        record |= {"kl_mean": found.mean, "kl_error": found.error, "kl_99": found.worst, "top1": found.same_best}
    return record


def conversion_line(made: ConvertedModel) -> str:
    """What `convert` wrote."""
    formats = ", ".join(f"{name} {format_bytes(nbytes)}" for name, nbytes in made.by_format.items())
    return f"{made.path}: {made.architecture}, {made.tensors} tensors ({formats})"


def conversion_record(made: ConvertedModel) -> dict[str, Any]:
    return {
        "path": str(made.path),
        "architecture": made.architecture,
        "tensors": made.tensors,
        "bytes": made.nbytes,
        "bytes_by_format": made.by_format,
        "notes": made.notes,
    }


class Progress:
    """Called after each tensor: draws a line of progress; with `each_tensor` also prints the tensor and its error."""

    def __init__(self, screen: Screen, title: str, *, each_tensor: bool = False) -> None:
        self._screen, self._title, self._each_tensor = screen, title, each_tensor

    def __call__(self, written: TensorWritten) -> None:
        done, total, info = written.done >> 20, written.total >> 20, written.info
        self._screen.progress(self._title, done, total, " MiB", f", {info.name}")
        if self._each_tensor:
            error = f"relative RMSE {written.error.relative:.5f}" if written.error.total else "unchanged"
            self._screen.notes([f"{written.number:>4} {info.name:<32} {info.format.name:<7} {error}"])


def check_quality(reference: Path, candidate: Path, threads: int | None, screen: Screen) -> Divergence:
    """How far the predictions of `candidate` are from those of `reference` on a page of text, with progress."""
    from ...quantize.check import check

    return check(reference, candidate, threads, lambda done, total: screen.progress("checking", done, total, " tokens"))


def _head(prepared: PreparedQuantization) -> dict[str, Any]:
    plan = prepared.plan
    return {"source": str(prepared.source.path), "type": plan.type_name, "bits_per_weight": plan.bits_per_weight}


def _summary(prepared: PreparedQuantization) -> str:
    plan = prepared.plan
    return f"{plan.type_name}, {plan.bits_per_weight:.2f} bits per weight, {format_bytes(plan.nbytes)}"
