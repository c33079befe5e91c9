"""Whether a model fits, in words and as a record. Draws nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..memory import in_words

if TYPE_CHECKING:
    from ..fit import Fit
    from ..gguf import GGUFFile


def measured(gguf: GGUFFile, n_ctx: int) -> Fit:
    """The fit of a model, with the speed of this machine's memory, measured now."""
    from ..fit import fit
    from ..ops.bandwidth import read_bandwidth
    from ..quant.cpu import physical_cores

    return fit(gguf, n_ctx, read_bandwidth(physical_cores()))


def fit_sheet(fit: Fit) -> Iterator[tuple[str, str]]:
    """Label and words of each thing there is to say."""
    need, total, free = fit.need, in_words(fit.total_memory), in_words(fit.free_memory)
    verdict = "yes" if fit.fits else "no"
    yield (
        "fits",
        f"{verdict}: {in_words(need.total)} with {need.n_ctx:,} tokens; this machine has {total}, {free} free now",
    )
    known = f" of the {fit.trained:,} that it knows" if fit.trained and fit.largest < fit.trained // 256 * 256 else ""
    yield (
        "largest context",
        f"{fit.largest:,} tokens{known}" if fit.largest else "none: the weights alone are too large",
    )
    if fit.tokens_per_second and fit.bandwidth:
        reads = f"a token reads {in_words(fit.read_per_token)}, the memory gives {in_words(round(fit.bandwidth))}/s"
        yield "speed", f"at most {fit.tokens_per_second:.3g} tokens/s: {reads}"


def fit_record(fit: Fit) -> dict[str, Any]:
    """As a JSON object has it."""
    return {**asdict(fit), "fits": fit.fits, "tokens_per_second": fit.tokens_per_second}
