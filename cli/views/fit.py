"""Whether a model fits, in words and as a record. Draws nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ...text import format_bytes

if TYPE_CHECKING:
    from ...gguf import GGUFFile
    from ...model_info.fit import Fit


def measured(gguf: GGUFFile, n_ctx: int) -> Fit:
    """The fit of a model, with the speed of this machine's memory, measured now."""
    from ...model_info.fit import fit
    from ...ops.bandwidth import read_bandwidth
    from ...quant.jit.cpu import physical_cores

    return fit(gguf, n_ctx, read_bandwidth(physical_cores()))


def fit_sheet(fit: Fit) -> Iterator[tuple[str, str]]:
    """Label and words of each thing there is to say."""
    need, total, free = fit.need, format_bytes(fit.total_memory), format_bytes(fit.free_memory)
    verdict = "yes" if fit.fits else "no"
    yield (
        "fits",
        f"{verdict}: {format_bytes(need.total)} with {need.n_ctx:,} tokens; this machine has {total}, {free} free now",
    )
    known = f" of the {fit.trained:,} that it knows" if fit.trained and fit.largest < fit.trained // 256 * 256 else ""
    yield (
        "largest context",
        f"{fit.largest:,} tokens{known}" if fit.largest else "none: the weights alone are too large",
    )
    if fit.tokens_per_second and fit.bandwidth:
        reads = (
            f"a token reads {format_bytes(fit.read_per_token)}, the memory gives {format_bytes(round(fit.bandwidth))}/s"
        )
        yield "speed", f"at most {fit.tokens_per_second:.3g} tokens/s: {reads}"


def fit_record(fit: Fit) -> dict[str, Any]:
    """As a JSON object has it."""
    return {**asdict(fit), "fits": fit.fits, "tokens_per_second": fit.tokens_per_second}
