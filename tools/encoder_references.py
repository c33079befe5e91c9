"""Encoders that transformers does not have, in torch: what `make_encoder_goldens` computes results with.

The models are published with Python code of their own. Their tensors have the names of the published folders, a
`Folder` has them by name in float64; a text is the ids (tokens,) of its tokens and the part of a pair (tokens,) that
each belongs to, the result its states (tokens, width).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

Shapes = dict[str, tuple[int, ...]]
Folder = Mapping[str, torch.Tensor]
Reference = Callable[[Folder, Mapping[str, Any], torch.Tensor, torch.Tensor], torch.Tensor]


def linear(w: Folder, name: str, x: torch.Tensor) -> torch.Tensor:
    """The linear layer `name`, with a bias if it has one."""
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def norm(w: Folder, name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
    """The layer norm `name`."""
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, bias: Any = 0) -> torch.Tensor:
    """Softmax attention of (tokens, width) -> (tokens, width); `bias` (heads, tokens, tokens) is added to scores."""
    q, k, v = (x.reshape(len(x), heads, -1).transpose(0, 1) for x in (q, k, v))
    scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5 + bias
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(v.shape[1], -1)


def rotated(x: torch.Tensor, heads: int, base: float) -> torch.Tensor:
    """Queries or keys (tokens, width) with rotary embedding of halves of heads."""
    x = x.reshape(len(x), heads, -1)
    half = x.shape[-1] // 2
    angles = torch.arange(len(x))[:, None] / base ** (torch.arange(half, dtype=torch.float64) / half)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).reshape(len(x), -1)


def slopes(heads: int) -> torch.Tensor:
    """Slopes of linear biases as Press et al. 2021 give them, for heads that need not be a power of two."""
    even = 1 << (heads.bit_length() - 1)
    first = [2 ** (-8 * (i + 1) / even) for i in range(even)]
    return torch.tensor(first + [2 ** (-4 * (2 * i + 1) / even) for i in range(heads - even)], dtype=torch.float64)


def nomic_moe(w: Folder, s: Mapping[str, Any], ids: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
    """Nomic Embed 2."""
    eps, heads, base = s["layer_norm_epsilon"], s["n_head"], s["rotary_emb_base"]
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][types]
    x = norm(w, "emb_ln", x, eps)
    for i in range(s["n_layer"]):
        at = f"encoder.layers.{i}."
        q, k, v = linear(w, f"{at}attn.Wqkv", x).chunk(3, -1)
        attended = attention(rotated(q, heads, base), rotated(k, heads, base), v, heads)
        x = norm(w, f"{at}norm1", x + linear(w, f"{at}attn.out_proj", attended), eps)
        if i % s["moe_every_n_layers"] == 1:
            made = nomic_experts(w, f"{at}mlp.", s, x)
        else:
            made = linear(w, f"{at}mlp.fc2", F.gelu(linear(w, f"{at}mlp.fc1", x)))
        x = norm(w, f"{at}norm2", x + made, eps)
    return x


def nomic_experts(w: Folder, at: str, s: Mapping[str, Any], x: torch.Tensor) -> torch.Tensor:
    """Experts' results times the softmax over all of them, of the best ones alone; one bias is added to the sum."""
    weights, chosen = linear(w, f"{at}router.layer", x).softmax(-1).topk(s["moe_top_k"], -1)
    first, second = (w[f"{at}experts.mlp.{name}"].reshape(s["num_experts"], -1, x.shape[-1]) for name in ("w1", "w2"))
    hidden = F.gelu(torch.einsum("td,tufd->tuf", x, first[chosen]))
    return torch.einsum("tu,tuf,tufd->td", weights, hidden, second[chosen]) + w[f"{at}experts.bias"]


def nomic_moe_shapes(s: Mapping[str, Any]) -> Shapes:
    """Shapes of the folder's tensors."""
    width, ffn, experts = s["n_embd"], s["n_inner"], s["num_experts"]
    shapes: Shapes = {"embeddings.word_embeddings.weight": (s["vocab_size"], width)}
    shapes["embeddings.token_type_embeddings.weight"] = (s["type_vocab_size"], width)
    shapes |= pair("emb_ln", width)
    for i in range(s["n_layer"]):
        at = f"encoder.layers.{i}."
        shapes |= pair(f"{at}attn.Wqkv", 3 * width, width) | pair(f"{at}attn.out_proj", width, width)
        shapes |= pair(f"{at}norm1", width) | pair(f"{at}norm2", width)
        if i % s["moe_every_n_layers"] == 1:
            shapes |= {f"{at}mlp.experts.mlp.{name}": (experts * ffn, width) for name in ("w1", "w2")}
            shapes |= {f"{at}mlp.experts.bias": (width,), f"{at}mlp.router.layer.weight": (experts, width)}
        else:
            shapes |= pair(f"{at}mlp.fc1", ffn, width) | pair(f"{at}mlp.fc2", width, ffn)
    return shapes


def jina_v2(w: Folder, s: Mapping[str, Any], ids: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
    """Jina Embeddings 2; the model for code has norms of queries and keys, and others in the place of the MLP's."""
    eps, heads, ffn = s["layer_norm_eps"], s["num_attention_heads"], s["intermediate_size"]
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][types]
    x = norm(w, "embeddings.LayerNorm", x, eps)
    positions = torch.arange(len(ids))
    bias = -slopes(heads)[:, None, None] * (positions[:, None] - positions).abs()
    for i in range(s["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        q, k, v = (linear(w, f"{at}attention.self.{name}", x) for name in ("query", "key", "value"))
        of_code = f"{at}layer_norm_1.weight" in w
        if of_code:
            q, k = (norm(w, f"{at}attention.self.layer_norm_{name}", x, eps) for name, x in (("q", q), ("k", k)))
        attended = linear(w, f"{at}attention.output.dense", attention(q, k, v, heads, bias))
        attended = norm(w, f"{at}attention.output.LayerNorm", attended + x, eps)
        if of_code:
            attended = norm(w, f"{at}layer_norm_1", attended + x, eps)
            up, gate = linear(w, f"{at}mlp.up_gated_layer", attended).split(ffn, -1)
            made = linear(w, f"{at}mlp.down_layer", up * F.gelu(gate))
        else:
            gate, up = linear(w, f"{at}mlp.gated_layers", attended).split(ffn, -1)
            made = linear(w, f"{at}mlp.wo", F.gelu(gate) * up)
        x = norm(w, f"{at}layer_norm_2" if of_code else f"{at}mlp.layernorm", made + attended, eps)
    return x


def jina_v2_shapes(s: Mapping[str, Any]) -> Shapes:
    """Shapes of the folder's tensors; those of the model for code where the vocabulary is that of RoBERTa."""
    width, ffn, of_code = s["hidden_size"], s["intermediate_size"], s.get("tokenizer_class") == "RobertaTokenizer"
    shapes: Shapes = {"embeddings.word_embeddings.weight": (s["vocab_size"], width)}
    shapes["embeddings.token_type_embeddings.weight"] = (s["type_vocab_size"], width)
    shapes |= pair("embeddings.LayerNorm", width) | pair("pooler.dense", width, width)
    for i in range(s["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= pair(f"{at}attention.{name}", width, width)
        shapes |= pair(f"{at}attention.output.LayerNorm", width)
        if of_code:
            for name in ("attention.self.layer_norm_q", "attention.self.layer_norm_k", "layer_norm_1", "layer_norm_2"):
                shapes |= pair(f"{at}{name}", width)
        else:
            shapes |= pair(f"{at}mlp.layernorm", width)
        gated, down = ("up_gated_layer", "down_layer") if of_code else ("gated_layers", "wo")
        shapes |= {f"{at}mlp.{gated}.weight": (2 * ffn, width)} | pair(f"{at}mlp.{down}", width, ffn)
    return shapes


def rms(w: Folder, name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
    """The RMS norm `name`."""
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * w[f"{name}.weight"]


def neo_bert(w: Folder, s: Mapping[str, Any], ids: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
    """NeoBERT: queries, keys and values of each head lie together, and neighbours of a head are rotated as a pair."""
    eps, heads, dim = s["norm_eps"], s["num_attention_heads"], s["hidden_size"] // s["num_attention_heads"]
    angles = torch.arange(len(ids))[:, None] * 10000.0 ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]
    x = w["model.encoder.weight"][ids]
    for i in range(s["num_hidden_layers"]):
        at = f"model.transformer_encoder.{i}."
        read = rms(w, f"{at}attention_norm", x, eps)
        q, k, v = linear(w, f"{at}qkv", read).reshape(len(ids), heads, 3 * dim).chunk(3, -1)
        q, k = (
            torch.view_as_real(torch.view_as_complex(y.reshape(*y.shape[:-1], -1, 2).contiguous()) * turns).flatten(1)
            for y in (q, k)
        )
        x = x + linear(w, f"{at}wo", attention(q, k, v.flatten(1), heads))
        gate, up = linear(w, f"{at}ffn.w12", rms(w, f"{at}ffn_norm", x, eps)).chunk(2, -1)
        x = x + linear(w, f"{at}ffn.w3", F.silu(gate) * up)
    return rms(w, "model.layer_norm", x, eps)


def neo_bert_shapes(s: Mapping[str, Any]) -> Shapes:
    """Shapes of the folder's tensors."""
    width, ffn = s["hidden_size"], -(-2 * s["intermediate_size"] // 3 // 8) * 8
    shapes: Shapes = {"model.encoder.weight": (s["vocab_size"], width), "model.layer_norm.weight": (width,)}
    shapes |= pair("decoder", s["vocab_size"], width)
    for i in range(s["num_hidden_layers"]):
        at = f"model.transformer_encoder.{i}."
        shapes |= {f"{at}{name}.weight": (width,) for name in ("attention_norm", "ffn_norm")}
        shapes |= {f"{at}qkv.weight": (3 * width, width), f"{at}wo.weight": (width, width)}
        shapes |= {f"{at}ffn.w12.weight": (2 * ffn, width), f"{at}ffn.w3.weight": (width, ffn)}
    return shapes


def llama_both_ways(w: Folder, s: Mapping[str, Any], ids: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
    """Llama whose tokens see the whole text."""
    eps, heads, groups, base = s["rms_norm_eps"], s["num_attention_heads"], s["num_key_value_heads"], s["rope_theta"]
    x = w["embed_tokens.weight"][ids]
    for i in range(s["num_hidden_layers"]):
        at = f"layers.{i}."
        q, k, v = (linear(w, f"{at}self_attn.{n}_proj", rms(w, f"{at}input_layernorm", x, eps)) for n in "qkv")
        k, v = (
            y.reshape(len(ids), groups, -1).repeat_interleave(heads // groups, 1).flatten(1)
            for y in (rotated(k, groups, base), v)
        )
        x = x + linear(w, f"{at}self_attn.o_proj", attention(rotated(q, heads, base), k, v, heads))
        read = rms(w, f"{at}post_attention_layernorm", x, eps)
        made = F.silu(linear(w, f"{at}mlp.gate_proj", read)) * linear(w, f"{at}mlp.up_proj", read)
        x = x + linear(w, f"{at}mlp.down_proj", made)
    return rms(w, "norm", x, eps)


def llama_shapes(s: Mapping[str, Any]) -> Shapes:
    """Shapes of the folder's tensors."""
    width, ffn, kv = s["hidden_size"], s["intermediate_size"], s["num_key_value_heads"]
    kv = kv * width // s["num_attention_heads"]
    shapes: Shapes = {"embed_tokens.weight": (s["vocab_size"], width), "norm.weight": (width,)}
    for i in range(s["num_hidden_layers"]):
        at = f"layers.{i}."
        shapes |= {f"{at}{name}_layernorm.weight": (width,) for name in ("input", "post_attention")}
        shapes |= {
            f"{at}self_attn.{n}_proj.weight": (rows, width) for n, rows in zip("qkv", (width, kv, kv), strict=True)
        }
        shapes |= {f"{at}self_attn.o_proj.weight": (width, width), f"{at}mlp.down_proj.weight": (width, ffn)}
        shapes |= {f"{at}mlp.{name}_proj.weight": (ffn, width) for name in ("gate", "up")}
    return shapes


def pair(name: str, *shape: int) -> Shapes:
    """Weight and bias of a linear layer (rows, k), or of a norm (n,)."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


# class of the model -> (shapes of the folder's tensors by its settings, the model)
REFERENCES: dict[str, tuple[Callable[[Mapping[str, Any]], Shapes], Reference]] = {
    "NomicBertModel": (nomic_moe_shapes, nomic_moe),
    "JinaBertModel": (jina_v2_shapes, jina_v2),
    "LlamaBidirectionalModel": (llama_shapes, llama_both_ways),
    "NeoBERTLMHead": (neo_bert_shapes, neo_bert),
}
