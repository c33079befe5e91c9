"""Slopes of linear biases (ALiBi) in place of position embeddings. Press et al. 2021, arXiv 2108.12409."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def alibi_slopes(heads: int, steepest: float) -> NDArray[np.float32]:
    """What each head subtracts from a score for every token between query and key, (heads,) float32.

    A geometric sequence that ends with 2^-steepest; where heads are no power of two, every second term of one twice as
    fine fills the rest.
    """
    import numpy as np

    even = 1 << (heads.bit_length() - 1)
    first = 2.0 ** (-steepest / even * np.arange(1, even + 1))
    rest = 2.0 ** (-steepest / even / 2 * np.arange(1, 2 * (heads - even), 2))
    return np.concatenate([first, rest]).astype(np.float32)
