"""Philox 4x64-10 (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3): a random number for each counter.

The numbers are those of NumPy's generator of that name, which takes longer to import than an answer's first token.
"""

from __future__ import annotations

ROUNDS, WORD = 10, (1 << 64) - 1
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
KEY_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B


def philox(key: int, counter: tuple[int, int, int, int]) -> int:
    """The 64 bits that belong to a key of up to 128 bits and four words, the lowest first.

    The counter is raised by one before it is used, as in NumPy.
    """
    whole = sum(word << 64 * i for i, word in enumerate(counter)) + 1
    a, b, c, d = (whole >> 64 * i & WORD for i in range(4))
    low, high = key & WORD, key >> 64 & WORD
    for _ in range(ROUNDS):
        first, second = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = second >> 64 ^ b ^ low, second & WORD, first >> 64 ^ d ^ high, first & WORD
        low, high = low + KEY_STEPS[0] & WORD, high + KEY_STEPS[1] & WORD
    return a
