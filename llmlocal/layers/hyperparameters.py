"""The hyper-parameters that causal decoders share, each in its range. Knows metadata keys, no architecture."""

from __future__ import annotations

from dataclasses import dataclass

from .metadata import Config
from .weights import Weights


@dataclass(frozen=True, slots=True)
class Hyper:
    """Sizes of one decoder. `turned`: values of a head that rotate; `context`: tokens that it was trained for."""

    blocks: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    turned: int
    eps: float
    context: int

    @property
    def queries(self) -> int:
        """Width of all queries."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all keys, and of all values."""
        return self.kv_heads * self.head_dim

    @classmethod
    def read(cls, c: Config, w: Weights) -> Hyper:
        """From metadata; a file has more tensors than blocks. Raises BadFileError."""
        width, heads = c.integer("embedding_length", 1, 1 << 20), c.integer("attention.head_count", 1, 1 << 12)
        kv_heads = c.integer("attention.head_count_kv", 1, heads, heads)
        head_dim = c.integer("attention.key_length", 1, 1 << 12, max(1, width // heads))
        turned = c.integer("rope.dimension_count", 0, head_dim, head_dim // 2 * 2)
        if heads % kv_heads:
            raise c.fail(f"{heads} attention heads cannot share {kv_heads} key heads")
        if turned % 2:
            raise c.fail(f"{c.arch}.rope.dimension_count is {turned}, must be even")
        if c.integer("attention.value_length", 1, 1 << 12, head_dim) != head_dim:
            raise c.fail("values of another length than keys are not supported")
        return cls(
            blocks=c.integer("block_count", 1, len(w.gguf.tensors)),
            width=width,
            ffn=c.integer("feed_forward_length", 1, 1 << 22),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            turned=turned,
            eps=c.number(
                "attention.layer_norm_rms_epsilon", 0, 1, c.number("attention.layer_norm_epsilon", 0, 1, 1e-5)
            ),
            context=c.integer("context_length", 1, 1 << 31),
        )


@dataclass(frozen=True, slots=True)
class Experts:
    """How many feed-forwards there are to choose from, how many a token uses, their inner width, and the width of one
    that all tokens use (0: none); `factor` multiplies the weights of the chosen."""

    count: int
    used: int
    ffn: int
    shared_ffn: int
    factor: float

    @classmethod
    def read(cls, c: Config, h: Hyper) -> Experts:
        """From metadata. Raises BadFileError."""
        if c.integer("expert_gating_func", 0, 100, SOFTMAX) not in (0, SOFTMAX, SOFTMAX_OF_CHOSEN):
            raise c.fail(f"{c.arch}.expert_gating_func is not softmax, which is not supported")
        count = c.integer("expert_count", 1, 1 << 12)
        return cls(
            count=count,
            used=c.integer("expert_used_count", 1, count),
            ffn=c.integer("expert_feed_forward_length", 1, 1 << 22, h.ffn),
            shared_ffn=c.integer("expert_shared_feed_forward_length", 0, 1 << 22, 0),
            factor=c.number("expert_weights_scale", 0, 1e3, 1.0) or 1.0,
        )


SOFTMAX, SOFTMAX_OF_CHOSEN = 1, 3  # GGUF's numbers of what turns scores into weights


def windows(c: Config, blocks: int, *, period: int, default: int = 0) -> list[int | None]:
    """Each block's sliding window in tokens, None where it sees everything. Raises BadFileError.

    The last of every `period` blocks sees everything; none does where `period` is 0. A file may give another period, or
    say it of every block, under `attention.sliding_window_pattern`; a window of 0 is none.
    """
    window = c.integer("attention.sliding_window", 0, 1 << 31, default)
    pattern = c.flags("attention.sliding_window_pattern", blocks)
    if pattern is None:
        period = c.integer("attention.sliding_window_pattern", 0, 1 << 12, period)
        pattern = [not period or i % period < period - 1 for i in range(blocks)]
    return [window if slides and window else None for slides in pattern]
