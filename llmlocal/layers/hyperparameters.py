"""The hyperparameters that causal decoders share, read from metadata and checked against their ranges."""

from __future__ import annotations

from dataclasses import dataclass

from .metadata import Config
from .weights import Weights


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Sizes of a decoder.

    `width` of a token, `ffn` of the MLP's hidden layer; `rotary_dim`: values of a head with rotary embedding;
    `eps` of the norms; `context`: the trained context in tokens.
    """

    blocks: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    rotary_dim: int
    eps: float
    context: int

    @property
    def q_dim(self) -> int:
        """Width of the queries of all heads."""
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of the keys of all heads, and of their values."""
        return self.kv_heads * self.head_dim

    @classmethod
    def read(cls, c: Config, w: Weights) -> Hyperparameters:
        """Read and check metadata. Raises BadFileError for missing, wrong or unsupported values."""
        width, heads = c.integer("embedding_length", 1, 1 << 20), c.integer("attention.head_count", 1, 1 << 12)
        kv_heads = c.integer("attention.head_count_kv", 1, heads, heads)
        head_dim = c.integer("attention.key_length", 1, 1 << 12, max(1, width // heads))
        rotary_dim = c.integer("rope.dimension_count", 0, head_dim, head_dim // 2 * 2)
        if heads % kv_heads:
            raise c.fail(f"{heads} attention heads are not a multiple of {kv_heads} key heads")
        if rotary_dim % 2:
            raise c.fail(f"{c.arch}.rope.dimension_count is {rotary_dim}, must be even")
        if c.integer("attention.value_length", 1, 1 << 12, head_dim) != head_dim:
            raise c.fail("attention.value_length that differs from attention.key_length is not supported")
        return cls(
            blocks=c.integer("block_count", 1, len(w.gguf.tensors)),  # every block has tensors
            width=width,
            ffn=c.integer("feed_forward_length", 1, 1 << 22),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            rotary_dim=rotary_dim,
            eps=c.number(
                "attention.layer_norm_rms_epsilon", 0, 1, c.number("attention.layer_norm_epsilon", 0, 1, 1e-5)
            ),
            context=c.integer("context_length", 1, 1 << 31),
        )


@dataclass(frozen=True, slots=True)
class Experts:
    """Sizes of a mixture of experts: how many there are, how many each token uses, and the hidden width of their MLPs.

    `shared_ffn` is the hidden width of the shared expert, 0 for none; `factor` multiplies the weights of the chosen.
    """

    count: int
    used: int
    ffn: int
    shared_ffn: int
    factor: float

    @classmethod
    def read(cls, c: Config, h: Hyperparameters) -> Experts:
        """Read and check metadata. Raises BadFileError for missing, wrong or unsupported values."""
        if c.integer("expert_gating_func", 0, 100, SOFTMAX) not in (0, SOFTMAX, SOFTMAX_OF_CHOSEN):
            raise c.fail(f"{c.arch}.expert_gating_func is not softmax; other functions are not supported")
        count = c.integer("expert_count", 1, 1 << 12)
        return cls(
            count=count,
            used=c.integer("expert_used_count", 1, count),
            ffn=c.integer("expert_feed_forward_length", 1, 1 << 22, h.ffn),
            shared_ffn=c.integer("expert_shared_feed_forward_length", 0, 1 << 22, 0),
            factor=c.number("expert_weights_scale", 0, 1e3, 1.0) or 1.0,
        )


SOFTMAX, SOFTMAX_OF_CHOSEN = 1, 3  # values of expert_gating_func


def windows(c: Config, blocks: int, *, period: int, default: int = 0) -> list[int | None]:
    """The sliding window of each block in tokens, None for full attention. Raises BadFileError.

    The last of every `period` blocks has full attention; with a period of 0, no block has. Under
    `attention.sliding_window_pattern` a file may give another period, or a flag for each block. A window of 0 is none.
    """
    window = c.integer("attention.sliding_window", 0, 1 << 31, default)
    pattern = c.flags("attention.sliding_window_pattern", blocks)
    if pattern is None:
        period = c.integer("attention.sliding_window_pattern", 0, 1 << 12, period)
        pattern = [not period or i % period < period - 1 for i in range(blocks)]
    return [window if slides and window else None for slides in pattern]
