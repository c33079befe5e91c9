"""How the tokens of a batch are cut into panels, which share each weight that is loaded."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, cast

from ..simd.instruction_set import InstructionSet

BAND = 32  # rows whose unpacked weights stay in the L1 cache while all tokens pass
GROUP = 256  # weights of a row with one scale, where that is made for many tokens (see `gemm_groups`)
PASS_TOKENS = 64  # tokens that run over all rows taken at once before the next do
TILE_BYTES = 3 << 16  # of a thread's scratch memory: unpacked weights of the rows taken at once
SUM_BYTES = 1 << 18  # behind them: float32 sums of those rows, 128 by 512 tokens


def in_panels(v: InstructionSet, most: int, panel_of: Callable[[int], Callable[..., Any]], least: int = 1) -> Any:
    """The function `(tokens, *args)` that runs `panel_of(n)`, a function `(t, *args)` for tokens t .. t + n - 1.

    As many panels of `most` tokens as there are, then at most one of every smaller power of two, to `least`.
    """

    def run_of(n: int) -> Any:
        panel = v.jitable(panel_of(n))

        def run(t, tokens, *args):
            while t + n <= tokens:
                panel(t, *args)
                t += n
            return t

        return v.jitable(run)

    runs = v.fold_parts(
        [run_of(n) for n in sorted({most, *(1 << i for i in range(5))}, reverse=True) if least <= n <= most]
    )
    return v.jitable(lambda tokens, *args: runs(0, tokens, *args))


class PanelSums(NamedTuple):
    """How a panel's sums, a vector for each token, come from and go to y (tokens, LANES) float32, rows `stride` apart.

    `zeros(y, stride)` and `loads(y, stride)` give them; `stores(sums, y, stride)` writes them; `fetch(y, stride)` asks
    for where they will go: where rows of y are a power of two apart, or many, no cache keeps them.
    """

    zeros: Any
    loads: Any
    stores: Any
    fetch: Any


def panel_sums(v: InstructionSet, tokens: int) -> PanelSums:
    """The sums of a panel of `tokens` tokens."""
    f32, lines = v.f32, -(-4 * v.LANES // 64)
    return PanelSums(
        v.unroll_map(tokens, lambda t, y, stride: v.zero(f32)),
        v.unroll_map(tokens, lambda t, y, stride: v.load(f32, y + t * stride)),
        v.unroll_map(tokens, lambda t, sums, y, stride: v.store(y + t * stride, v.tuple_get(sums, t))),
        v.unroll_map(tokens * lines, lambda i, y, stride: v.prefetch(y + i // lines * stride + i % lines * 64)),
    )


def fetch_rows(v: InstructionSet) -> Any:
    """`(rows, row_bytes, first, last)`: ask for the cache lines in which bytes first .. last - 1 of LANES rows end.

    So many streams are more than a CPU follows by itself.
    """

    def run(rows, row_bytes, first, last):
        for line in range(first // 64, last // 64):
            for r in range(v.LANES):
                v.prefetch(rows + row_bytes * r + 64 * line)

    return v.jitable(run)


def set_for_tiles(v: InstructionSet) -> InstructionSet:
    """The instruction set that products are built with: `v` itself, or its module for tiles."""
    return cast(InstructionSet, import_module(f"..isa.{v.TILES}", __package__)) if v.TILES else v
