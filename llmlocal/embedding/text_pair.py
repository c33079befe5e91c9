"""Pairs of texts as one sequence of tokens, as models that score pairs were trained on them."""

from __future__ import annotations

from collections.abc import Sequence

from ..tokenizer import Tokenizer


def pair_ids(tokenizer: Tokenizer, first: Sequence[int], second: Sequence[int]) -> tuple[list[int], list[int]]:
    """Ids of a pair and the part that each belongs to, 0 or 1: [CLS] first [SEP] second [SEP] in BERT's words.

    A tokenizer that adds a separator besides the end of a text (RoBERTa) has both between the texts. `first` and
    `second` are ids without special tokens.
    """
    before, after = tokenizer.vocab.prefix_and_suffix()
    vocab = tokenizer.vocab
    extra = [vocab.special["sep"]] if vocab.add_sep and vocab.closing != "sep" and "sep" in vocab.special else []
    between = after[: len(after) - vocab.add_cls]  # what stands for the pair comes last
    head, tail = [*before, *first, *between, *extra], [*second, *after]
    return head + tail, [0] * len(head) + [1] * len(tail)
