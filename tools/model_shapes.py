"""Shapes of published models, and what the metadata of their files says, in GGUF's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmlocal.gguf.values import ValueType

Metadata = dict[str, Any]  # key -> value, or (type, value), as `GGUFWriter` takes them


@dataclass(frozen=True, slots=True)
class Shape:
    """What the metadata of a model says, in GGUF's words. Embeddings are tied: the output matrix is `token_embd`."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    ffn: int
    theta: float
    context: int
    eps: float = 1e-5
    architecture: str = "llama"
    head_norm: bool = False  # q and k are normed per head
    llama31_rope: bool = False
    post_norm: bool = False  # norms after attention and feed-forward, too
    window: int = 0
    experts: int = 0  # each of `ffn` inner values
    used: int = 0
    rotary: int = 0  # rotated values of a head; 0: all
    attends: tuple[int, ...] | None = None  # the blocks with attention; None: all
    delta: tuple[int, int] = (0, 0)  # heads of a gated delta net, for keys and values, and the size of each
    scan: tuple[int, int] = (0, 0)  # heads of a Mamba-2 layer, twice as wide as the model, and the size of their states
    factors: Mapping[str, float] = field(default_factory=dict)  # metadata for scales and caps
    period: int = 0  # the last of so many blocks has no window, and heads twice as wide (Gemma 4)
    shared: int = 0  # so many blocks at the end attend to keys of earlier ones, and are twice as wide inside
    inputs: int = 0  # values that each block reads of a token's row of its own

    def mixes(self, i: int) -> bool:
        """Whether block `i` has a recurrent layer in place of attention."""
        return self.attends is not None and i not in self.attends

    def slides(self, i: int) -> bool:
        """Whether block `i` has a window where only some have."""
        return bool(self.period) and i % self.period < self.period - 1

    def head_of(self, i: int) -> int:
        """Size of the heads of block `i`."""
        return 2 * self.head if self.period and not self.slides(i) else self.head

    def borrows(self, i: int) -> bool:
        """Whether block `i` attends to keys of an earlier one."""
        return i >= self.layers - self.shared

    def ffn_of(self, i: int) -> int:
        """Inner values of the feed-forward of block `i`."""
        return self.ffn * (1 + self.borrows(i))


QWEN3 = {"architecture": "qwen3", "head_norm": True}
GEMMA3 = {"architecture": "gemma3", "head_norm": True, "post_norm": True}
GEMMA4 = {"architecture": "gemma4", "head_norm": True, "post_norm": True, "factors": {"final_logit_softcapping": 30.0}}
SCALES = {"embedding_scale": 12.0, "attention.scale": 0.0078125, "residual_scale": 0.22, "logit_scale": 6.0}
GRANITE = {"architecture": "granitehybrid", "factors": SCALES}
SHAPES = {
    "llama-1b": Shape(2048, 16, 32, 8, 64, 8192, 500_000.0, 131_072, llama31_rope=True),
    "qwen3-0.6b": Shape(1024, 28, 16, 8, 128, 3072, 1e6, 40_960, 1e-6, **QWEN3),
    "gemma3-1b": Shape(1152, 26, 4, 1, 256, 6912, 1e6, 32_768, 1e-6, window=512, **GEMMA3),
    "gemma3-270m": Shape(640, 18, 4, 1, 256, 2048, 1e6, 32_768, 1e-6, window=512, **GEMMA3),
    "gemma4-e2b": Shape(
        1536, 35, 8, 1, 256, 6144, 1e6, 131_072, 1e-6, window=512, period=5, shared=20, inputs=256, **GEMMA4
    ),
    "granite4-h-1b": Shape(
        1536, 40, 12, 4, 128, 4096, 1e4, 131_072, attends=(5, 15, 25, 35), scan=(48, 128), **GRANITE
    ),
    "qwen3moe-16": Shape(  # Qwen3-30B-A3B with fewer experts and layers
        2048, 16, 32, 4, 128, 768, 1e6, 40_960, 1e-6, architecture="qwen3moe", head_norm=True, experts=16, used=4
    ),
    "qwen35-0.8b": Shape(
        1024,
        24,
        8,
        2,
        256,
        3584,
        1e7,
        262_144,
        1e-6,
        architecture="qwen35",
        head_norm=True,
        rotary=64,
        attends=tuple(range(3, 24, 4)),
        delta=(16, 128),
    ),
    "lfm2-1.2b": Shape(
        2048, 16, 32, 8, 64, 8192, 1e6, 128_000, architecture="lfm2", head_norm=True, attends=(2, 5, 8, 10, 12, 14)
    ),
    "smollm2-135m": Shape(576, 30, 9, 3, 64, 1536, 100_000.0, 8192),
    "tiny-llama": Shape(64, 2, 4, 2, 16, 192, 10_000.0, 2048),
    "tiny-llama-256": Shape(256, 2, 8, 2, 32, 768, 10_000.0, 2048),  # as small as K formats allow
    "tiny-gemma3-256": Shape(256, 7, 4, 1, 64, 768, 1e6, 2048, 1e-6, window=16, **GEMMA3),
    "tiny-gemma4-256": Shape(
        256, 6, 4, 1, 64, 256, 1e6, 2048, 1e-6, window=16, period=3, shared=3, inputs=256, **GEMMA4
    ),
    "tiny-granitehybrid-256": Shape(256, 2, 4, 2, 64, 512, 1e4, 2048, attends=(1,), scan=(8, 32), **GRANITE),
    "tiny-qwen3moe-256": Shape(
        256, 2, 4, 2, 64, 256, 1e6, 2048, 1e-6, architecture="qwen3moe", head_norm=True, experts=8, used=2
    ),
    "tiny-qwen3-256": Shape(256, 2, 4, 2, 64, 768, 1e6, 2048, 1e-6, **QWEN3),
}


def numbers(s: Shape, vocab: int) -> Metadata:
    """The keys of an architecture, without its name in front."""
    whole = s.head_of(s.layers - 1)
    out: Metadata = {
        "context_length": s.context,
        "embedding_length": s.width,
        "block_count": s.layers,
        "feed_forward_length": s.ffn,
        "attention.head_count": s.heads,
        "attention.head_count_kv": s.kv_heads,
        "attention.key_length": whole,
        "attention.value_length": whole,
        "attention.layer_norm_rms_epsilon": s.eps,
        "rope.dimension_count": s.rotary or whole,
        "rope.freq_base": s.theta,
        "vocab_size": vocab,
        **s.factors,
    }
    if s.window:
        out["attention.sliding_window"] = s.window
    if s.experts:
        out |= {"expert_count": s.experts, "expert_used_count": s.used, "expert_feed_forward_length": s.ffn}
    if s.attends is not None:
        out |= _of_recurrent_layers(s)
    return out | _of_windows(s) if s.period else out


def _of_recurrent_layers(s: Shape) -> Metadata:
    heads, size = s.delta
    if heads:
        sizes = {"ssm.conv_kernel": 4, "ssm.state_size": size, "ssm.group_count": heads, "ssm.time_step_rank": heads}
        sections = (ValueType.I32, [s.rotary // 4, s.rotary // 8, s.rotary // 8, 0])
        return sizes | {
            "ssm.inner_size": heads * size,
            "full_attention_interval": 4,
            "rope.dimension_sections": sections,
        }
    kv_heads = {"attention.head_count_kv": (ValueType.I32, [0 if s.mixes(i) else s.kv_heads for i in range(s.layers)])}
    heads, size = s.scan
    if not heads:
        return kv_heads | {"shortconv.l_cache": 3}
    sizes = {"ssm.conv_kernel": 4, "ssm.state_size": size, "ssm.group_count": 1, "ssm.time_step_rank": heads}
    return kv_heads | sizes | {"ssm.inner_size": 2 * s.width, "rope.scaling.finetuned": False}


def _of_windows(s: Shape) -> Metadata:
    """Keys of a model of which some blocks have a window."""
    return {
        "attention.key_length_swa": s.head,
        "attention.value_length_swa": s.head,
        "attention.shared_kv_layers": s.shared,
        "attention.sliding_window_pattern": [s.slides(i) for i in range(s.layers)],
        "embedding_length_per_layer_input": s.inputs,
        "feed_forward_length": (ValueType.I32, [s.ffn_of(i) for i in range(s.layers)]),
        "rope.dimension_count_swa": s.head,
        "rope.freq_base_swa": 10_000.0,
    }
