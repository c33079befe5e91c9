"""What a quantization cost, on a page of text: both models read it, and their predictions are compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..divergence import BATCH, Divergence, diverge
from ..errors import UsageError
from ..session import Session

TOKENS = 256  # that are compared at most
SAMPLE = """\
The lighthouse stood at the end of a long wall of stones. Every evening Anna walked out there with a lamp in one hand \
and a basket in the other, and every evening the old keeper asked her the same question: "Is the tide coming in or \
going out?" She never needed to look. You could hear it, she said, if you stood still for a moment and counted slowly \
to ten.

A computer stores a number as a pattern of bits. With eight bits there are 256 patterns, enough for the integers from \
-128 to 127. Real numbers do not fit so well. They are rounded to the nearest value that can be written down, and the \
difference between the two is called the rounding error. For most purposes it is too small to matter.

def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)

In 1869 the last stone was carried over the bridge, the road was opened, and the ferry, which had crossed the river \
twice a day for ninety years, was sold to a farmer for the price of its wood.
"""


def check(reference: Path, candidate: Path, threads: int | None, tell: Callable[[int, int], None]) -> Divergence:
    """The divergence of `candidate` from `reference` on a page of text. Raises UsageError where a folder is given."""
    if reference.is_dir():
        raise UsageError("--check runs the source, so it needs a GGUF file", "convert the folder first")
    found = Divergence()
    with (
        Session.open(reference, n_ctx=TOKENS, n_threads=threads, max_outputs=BATCH) as old,
        Session.open(candidate, n_ctx=TOKENS, n_threads=threads, max_outputs=BATCH) as new,
    ):
        ids = old.tokenizer.encode(SAMPLE, add_special=True)[:TOKENS]
        for done in diverge(old.engine, new.engine, ids, found):
            tell(done, len(ids))
    return found
