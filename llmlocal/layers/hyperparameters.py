"""The hyperparameters that causal decoders share, read from metadata and checked against their ranges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..runtime.windows import sliding_blocks
from .metadata import Config
from .weights import Weights

HeadSizes = Callable[[Config, str, int], tuple[int, int]]  # of the metadata, a suffix of its keys, and a default


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Sizes of a decoder. Heads and `ffn` are those of the first block that has them; `block` gives those of one block.

    `width` of a token, `ffn` of the MLP's hidden layer; `rotary_dim`: values of a head with rotary embedding;
    `eps` of the norms; `context`: the trained context in tokens. `by_block`: (heads, kv_heads, ffn) of each block, 0
    for parts that it does not have.
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
    by_block: tuple[tuple[int, int, int], ...]

    @property
    def q_dim(self) -> int:
        """Width of the queries of all heads."""
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of the keys of all heads, and of their values."""
        return self.kv_heads * self.head_dim

    def block(self, i: int) -> Hyperparameters:
        """The sizes of block `i`."""
        heads, kv_heads, ffn = self.by_block[i]
        return replace(self, heads=heads, kv_heads=kv_heads, ffn=ffn)

    def windowed(self, c: Config) -> Hyperparameters:
        """The sizes of blocks with a sliding window, whose heads may have a size of their own. Raises BadFileError."""
        head_dim, rotary_dim = _head_sizes(c, "_swa", self.head_dim)
        return replace(self, head_dim=head_dim, rotary_dim=rotary_dim)

    @classmethod
    def read(
        cls, c: Config, w: Weights, *, hybrid: bool = False, dense: bool = True, head_sizes: HeadSizes | None = None
    ) -> Hyperparameters:
        """Read and check metadata. Raises BadFileError for missing, wrong or unsupported values.

        In a `hybrid` model blocks may have no attention (no heads) or no feed-forward. Files of models whose every
        feed-forward is a mixture of experts, not `dense`, may leave out its size. `head_sizes` reads (head_dim,
        rotary_dim) where values have another size than keys.
        """
        width = c.integer("embedding_length", 1, 1 << 20)
        blocks = c.integer("block_count", 1, len(w.gguf.tensors))  # every block has tensors
        least = 0 if hybrid else 1
        all_heads = c.integers("attention.head_count", blocks, least, 1 << 12)
        all_kv_heads = c.integers("attention.head_count_kv", blocks, least, 1 << 12, all_heads)
        all_ffn = c.integers("feed_forward_length", blocks, least, 1 << 22, None if dense else (1,) * blocks)
        heads, kv_heads, ffn = (next((n for n in some if n), 1) for some in (all_heads, all_kv_heads, all_ffn))
        head_dim, rotary_dim = (head_sizes or _head_sizes)(c, "", max(1, width // heads))
        odd = next((some for some in zip(all_heads, all_kv_heads, strict=True) if some[1] and some[0] % some[1]), None)
        if odd:
            raise c.fail(f"{odd[0]} attention heads are not a multiple of {odd[1]} key heads")
        return cls(
            blocks=blocks,
            width=width,
            ffn=ffn,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            rotary_dim=rotary_dim,
            eps=c.number(
                "attention.layer_norm_rms_epsilon", 0, 1, c.number("attention.layer_norm_epsilon", 0, 1, 1e-5)
            ),
            context=c.integer("context_length", 1, 1 << 31),
            by_block=tuple(zip(all_heads, all_kv_heads, all_ffn, strict=True)),
        )


def _head_sizes(c: Config, suffix: str, default: int) -> tuple[int, int]:
    """(head_dim, rotary_dim) under keys with a suffix. Raises BadFileError."""
    head_dim = c.integer(f"attention.key_length{suffix}", 1, 1 << 12, default)
    if c.integer(f"attention.value_length{suffix}", 1, 1 << 12, head_dim) != head_dim:
        raise c.fail(f"attention.value_length{suffix} that differs from attention.key_length{suffix} is not supported")
    return head_dim, rotary_size(c, head_dim, suffix)


def rotary_size(c: Config, head_dim: int, suffix: str = "") -> int:
    """How many values of a head have rotary embedding, an even number; by default all. Raises BadFileError."""
    rotary_dim = c.integer(f"rope.dimension_count{suffix}", 0, head_dim, head_dim // 2 * 2)
    if rotary_dim % 2:
        raise c.fail(f"{c.arch}.rope.dimension_count{suffix} is {rotary_dim}, must be even")
    return rotary_dim


LEAST_LIMIT = 0.3  # of SwiGLU
SOFTMAX, SIGMOID, SOFTMAX_OF_CHOSEN = 1, 2, 3  # values of expert_gating_func


@dataclass(frozen=True, slots=True)
class Experts:
    """Sizes of a mixture of experts: how many there are, how many each token uses, and the hidden width of their MLPs.

    `shared_ffn` is the hidden width of the shared expert, 0 for none; `factor` multiplies the weights of the chosen.
    `gating`: the function that makes weights of scores, as in `expert_gating_func`. The chosen are of the best
    of several groups of equal size; `groups`: how many groups there are, and how many are the best.
    """

    count: int
    used: int
    ffn: int
    shared_ffn: int
    factor: float
    gating: int
    groups: tuple[int, int]

    @classmethod
    def read(cls, c: Config, h: Hyperparameters, *, gating: int = SOFTMAX) -> Experts:
        """Read and check metadata; `gating` is that of files without the key.

        Raises BadFileError for missing, wrong or unsupported values.
        """
        gating = c.integer("expert_gating_func", 0, 100, gating) or gating
        if gating not in (SOFTMAX, SIGMOID, SOFTMAX_OF_CHOSEN):
            raise c.fail(f"{c.arch}.expert_gating_func is {gating}; supported are softmax (1, 3) and sigmoid (2)")
        count = c.integer("expert_count", 1, 1 << 12)
        groups = c.integer("expert_group_count", 0, count, 1) or 1
        groups_used = c.integer("expert_group_used_count", 0, groups, groups) or groups
        used = c.integer("expert_used_count", 1, count)
        if count % groups or used > count // groups * groups_used:
            raise c.fail(f"{count} experts in {groups} groups, {groups_used} of them used, do not give {used} experts")
        return cls(
            count=count,
            used=used,
            ffn=c.integer("expert_feed_forward_length", 1, 1 << 22, h.ffn),
            shared_ffn=c.integer("expert_shared_feed_forward_length", 0, 1 << 22, 0),
            factor=c.number("expert_weights_scale", 0, 1e3, 1.0) or 1.0,
            gating=gating,
            groups=(groups, groups_used),
        )


def swiglu_limits(c: Config, key: str, blocks: int) -> Sequence[float]:
    """The limit of SwiGLU in each block, 0 for none. Raises BadFileError for one that is too small."""
    limits = c.numbers(key, blocks) or [0.0] * blocks
    odd = next((limit for limit in limits if limit and limit < LEAST_LIMIT), None)
    if odd is not None:
        raise c.fail(f"{c.arch}.{key} has {odd:g}, must be 0 or at least {LEAST_LIMIT}")
    return limits


def windows(c: Config, blocks: int, *, period: int, default: int = 0) -> list[int | None]:
    """The sliding window of each block in tokens, None for full attention. Raises BadFileError.

    The last of every `period` blocks has full attention; with a period of 0, no block has. Under
    `attention.sliding_window_pattern` a file may give another period, or a flag for each block. A window of 0 is none.
    """
    window = c.integer("attention.sliding_window", 0, 1 << 31, default)
    pattern = c.flags("attention.sliding_window_pattern", blocks)
    if pattern is None:
        period = c.integer("attention.sliding_window_pattern", 0, 1 << 12, period)
    return [window if slides and window else None for slides in sliding_blocks(blocks, period, pattern)]
