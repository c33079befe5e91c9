"""Whether a model fits this machine, as lines and as a record. Draws nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...text import format_bytes

if TYPE_CHECKING:
    from ...gguf import GGUFFile
    from ...model_info.fit import Fit


def measure_fit(gguf: GGUFFile, n_ctx: int) -> Fit:
    """The fit of a model, with the speed of this machine's memory, measured now."""
    from ...measure.roofline import read_bandwidth
    from ...model_info.fit import fit
    from ...quant.jit.cpu import physical_cores

    return fit(gguf, n_ctx, read_bandwidth(physical_cores()))


def fit_sheet(fit: Fit) -> Iterator[tuple[str, str]]:
    """Label and text of each line."""
    need, total, free = fit.need, format_bytes(fit.total_memory), format_bytes(fit.free_memory)
    verdict = "in part" if fit.fits_in_part else "yes" if fit.fits else "no"
    yield (
        "fits",
        f"{verdict}: needs {format_bytes(need.total)} at a context of {need.n_ctx:,}; "
        f"this machine has {total}, {free} free",
    )
    known = (
        f" of the {fit.trained:,} it was trained for" if fit.trained and fit.largest < fit.trained // 256 * 256 else ""
    )
    yield (
        "largest context",
        f"{fit.largest:,} tokens{known}" if fit.largest else "none: the weights alone do not fit",
    )
    if fit.disk_per_token:
        yield from _from_disk(fit)
    elif fit.tokens_per_second and fit.bandwidth:
        bandwidth = format_bytes(round(fit.bandwidth))
        reads = f"{format_bytes(fit.read_per_token)} read per token, memory bandwidth {bandwidth}/s"
        yield "speed", f"at most {fit.tokens_per_second:.3g} tokens/s: {reads}"


def _from_disk(fit: Fit) -> Iterator[tuple[str, str]]:
    """How fast a mixture is whose experts are read from the disk."""
    reads = f"{format_bytes(fit.disk_per_token)} of {format_bytes(fit.read_per_token)} per token"
    yield "from the disk", f"{reads}: experts that do not fit into memory, if all are chosen equally often"
    if fit.tokens_per_second and fit.disk_rate:
        rate = f"the disk gives experts at {format_bytes(round(fit.disk_rate))}/s"
        yield "speed", f"about {fit.tokens_per_second:.3g} tokens/s: {rate}"


def fit_record(fit: Fit) -> dict[str, Any]:
    """As a JSON object has it."""
    return {**asdict(fit), "fits": fit.fits, "tokens_per_second": fit.tokens_per_second}
