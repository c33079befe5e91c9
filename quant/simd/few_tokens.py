"""How many tokens of a batch are multiplied row by row, as a single one is; more are multiplied in tiles of rows.

A token's product has the same bits in every batch up to these sizes. The numbers stand here, so that they can be read
without Numba.
"""

from __future__ import annotations

from typing import NamedTuple


class FewTokens(NamedTuple):
    """Of formats whose products run on bytes, of formats of floats, and tokens that share what is read of a row."""

    integers: int
    floats: int
    row_tokens: int


FEW_TOKENS = {
    "avx512": FewTokens(6, 8, 4),
    "avxvnni": FewTokens(3, 6, 2),
    "avx2": FewTokens(3, 6, 2),
    "generic": FewTokens(3, 3, 2),
    "neon_i8mm": FewTokens(1, 1, 1),
    "neon_dot": FewTokens(1, 1, 1),
    "neon": FewTokens(1, 1, 1),
}
