"""Small models of several architectures' shapes: names and sizes of tensors, and the keys that recipes ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

VOCABULARY = 64


@dataclass(frozen=True, slots=True)
class Small:
    """`kv` of `heads` heads share keys and values; `tied`: no output tensor; `fused`: one tensor for q, k and v."""

    architecture: str
    layers: int
    width: int
    feed_forward: int
    heads: int = 8
    kv: int = 8
    experts: int = 0
    tied: bool = False
    fused: bool = False

    @property
    def metadata(self) -> dict[str, Any]:
        own = {
            "block_count": self.layers,
            "context_length": 128,
            "embedding_length": self.width,
            "feed_forward_length": self.feed_forward,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "attention.layer_norm_epsilon": 1e-5,
            "rope.dimension_count": self.width // self.heads,
            "vocab_size": VOCABULARY,
        }
        if self.experts:
            own |= {"expert_count": self.experts, "expert_used_count": 2}
        if self.architecture == "gemma2":
            own |= {"attention.sliding_window": 64, "attention.key_length": 32, "attention.value_length": 32}
        keys = {f"{self.architecture}.{name}": value for name, value in own.items()}
        return {"general.architecture": self.architecture, "tokenizer.ggml.model": "none"} | keys

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shapes in NumPy's order, by name."""
        found: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, self.width)}
        for layer in range(self.layers):
            found |= {f"blk.{layer}.{name}": shape for name, shape in self._block().items()}
        found["output_norm.weight"] = (self.width,)
        return found | ({} if self.tied else {"output.weight": (VOCABULARY, self.width)})

    def _block(self) -> dict[str, tuple[int, ...]]:
        wide, kv = self.width, self.width // self.heads * self.kv
        block: dict[str, tuple[int, ...]] = {"attn_norm.weight": (wide,), "ffn_norm.weight": (wide,)}
        if self.fused:
            block["attn_qkv.weight"] = (wide + 2 * kv, wide)
        else:
            block |= {"attn_q.weight": (wide, wide), "attn_k.weight": (kv, wide), "attn_v.weight": (kv, wide)}
        block["attn_output.weight"] = (wide, wide)
        if self.architecture == "qwen2":
            block |= {"attn_q.bias": (wide,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)}
        if self.architecture == "gemma2":
            block |= {"post_attention_norm.weight": (wide,), "post_ffw_norm.weight": (wide,)}
        if self.experts:
            block["ffn_gate_inp.weight"] = (self.experts, wide)
            block |= {f"ffn_{n}_exps.weight": (self.experts, self.feed_forward, wide) for n in ("gate", "up")}
            block["ffn_down_exps.weight"] = (self.experts, wide, self.feed_forward)
        else:
            names = ("up",) if self.architecture == "falcon" else ("gate", "up")
            block |= {f"ffn_{name}.weight": (self.feed_forward, wide) for name in names}
            block["ffn_down.weight"] = (wide, self.feed_forward)
        return block


MODELS = {
    "llama": Small("llama", 17, 256, 512),
    "llama-grouped": Small("llama", 32, 256, 256, kv=2),
    "llama-odd": Small("llama", 9, 96, 172, kv=4),
    "llama-tied": Small("llama", 8, 256, 320, tied=True),
    "llama-70b": Small("llama", 80, 256, 256, kv=1),
    "qwen2": Small("qwen2", 24, 256, 352, kv=2),
    "qwen2-72b": Small("qwen2", 80, 256, 256, kv=1),
    "qwen2-odd": Small("qwen2", 12, 224, 416, kv=2, tied=True),
    "gemma2": Small("gemma2", 26, 256, 512, kv=4, tied=True),
    "mixtral": Small("llama", 16, 256, 512, kv=2, experts=8),
    "mixtral-odd": Small("llama", 8, 96, 160, kv=2, experts=8),
    "experts-4": Small("llama", 9, 256, 256, kv=2, experts=4),
    "falcon": Small("falcon", 18, 256, 512, kv=1, fused=True),
}
