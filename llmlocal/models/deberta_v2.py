"""DeBERTa v2 and v3 (He et al. 2020, arXiv 2006.03654; 2021, arXiv 2111.09543): BERT without positions. Scores of
attention are sums: content by content, and content of each side by the distance to the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, TensorRule, decoder_keys, drops, head_keys, renames
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.decoder import attention_output, qkv_weights
from ..layers.encoder import RelativeScores, by_head, distance_rows
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.score_bias import signed_buckets
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER
from .bert import FILLS, SORTS, head_steps
from .bert import word_logits as word_logits

KIND = ENCODER
DISTANCE_TABLES = 2  # of vectors that each block has


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    most = c.integer("attention.relative_distance_max", 4, 1 << 20)
    buckets = c.integer("attention.relative_buckets_count", 4, most, most)
    rows = distance_rows(g, lambda ahead: np.clip(bucketed(-ahead, buckets, most) + buckets, 0, 2 * buckets - 1))
    vectors = distance_vectors(h, w, 2 * buckets, normed=c.flag("attention.relative_norm", True))
    stem = "attn_" if c.flag("attention.relative_shared", True) else "attn_rel_"  # tokens' projections, or others
    x = blocks.norm(g, h, w, "token_embd_norm", blocks.embedding(g, h, w, vocab))

    def attention(h: Hyperparameters, b: Weights, x: Value) -> Value:
        q, k, v = g.linears(x, *qkv_weights(h, b))
        scale = (3 * h.head_dim) ** -0.5
        scores = RelativeScores(g, heads=h.heads, head_dim=h.head_dim, scale=scale)
        scores.add(q, projected(h, b, f"{stem}k", vectors), rows)
        scores.add(k, projected(h, b, f"{stem}q", vectors), rows, by_key=True)
        out = g.attention(q, k, v, head_dim=h.head_dim, scale=scale, bias=scores.bias)
        return attention_output(g, h, b, out)

    return blocks.post_norm_encoder(g, h, w, x, attention, lambda h, b, x: blocks.mlp(g, h, b, x))


def bucketed(distances: NDArray[np.int64], buckets: int, most: int) -> NDArray[np.int64]:
    """The bucket of each distance; distances themselves where there is one for each."""
    return distances if buckets == most else signed_buckets(distances, buckets, most)


def distance_vectors(h: Hyperparameters, w: Weights, count: int, *, normed: bool) -> NDArray[np.float64]:
    """The vectors (count, width) of distances, after their layer norm if they are to be `normed`."""
    x = w.matrix("rel_embd.weight", count, h.width).dequantize().astype(np.float64)
    if not normed:
        return x
    weight, bias = (w.vector(f"rel_embd_norm.{name}", h.width).dequantize() for name in ("weight", "bias"))
    x = x - x.mean(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        out: NDArray[np.float64] = x / np.sqrt((x * x).mean(1, keepdims=True) + h.eps) * weight + bias
    if not np.isfinite(out).all():
        raise w.fail("tensor 'rel_embd.weight' has a row without a norm")
    return out


def projected(h: Hyperparameters, w: Weights, name: str, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors of distances as queries or keys of each head (heads, count, head_dim), by the linear layer `name`."""
    weight, bias = w.linear(name, h.q_dim, h.width)
    return by_head(vectors @ weight.dequantize().T + (0 if bias is None else bias.dequantize()), h.heads)


def classifier(g: Layers, c: Config, w: Weights, x: Value) -> Value:
    """Scores (outputs, labels) of pooled states (outputs, width)."""
    h = Hyperparameters.read(c, w)
    return g.linear(g.gelu_erf(g.linear(x, *w.linear("cls", h.width, h.width))), *blocks.labels(w, h.width))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    kinds = s.find("pos_att_type")
    kinds = kinds.split("|") if isinstance(kinds, str) else kinds
    needed = {"relative_attention": True, "position_biased_input": False, "pooler_hidden_act": "gelu"}
    wrong = [name for name, value in needed.items() if s.find(name) != value]
    if wrong or not isinstance(kinds, list) or {str(kind).strip() for kind in kinds} != {"c2p", "p2c"}:
        raise s.fail(f"{[*wrong, 'pos_att_type'][0]} has a value that is not supported", "")
    if s.find("conv_kernel_size"):
        raise s.fail("conv_kernel_size: a model with a convolution, such as v2-xlarge, is not supported", "")
    if s.integer("embedding_size", default=s.integer("hidden_size")) != s.integer("hidden_size"):
        raise s.fail("embedding_size differs from hidden_size, which is not supported", "")
    most, buckets = (s.find(name) for name in ("max_relative_positions", "position_buckets"))
    s.find("legacy", "type_vocab_size")  # told by tensors
    own: Keys = {
        "attention.relative_distance_max": most
        if isinstance(most, int) and most > 0
        else s.integer("max_position_embeddings"),
        "attention.relative_buckets_count": buckets if isinstance(buckets, int) and buckets > 0 else None,
        "attention.relative_shared": s.flag("share_att_key"),
        "attention.relative_norm": "layer_norm" in s.text("norm_rel_ebd", default="none"),
        "attention.causal": False,
    }
    return decoder_keys(s) | own | head_keys(s)


STEPS: dict[str, TensorRule] = {
    r"^deberta\.": renames(""),
    r"^mask_predictions\.|\.decoder\.bias$|^embeddings\.position_embeddings\.": drops(),
    r"^encoder\.rel_embeddings\.": renames("rel_embd."),
    r"^encoder\.LayerNorm\.": renames("rel_embd_norm."),
    r"(\.attention\.self\.(?:query|key|value))_proj\.": renames(r"\1."),
    r"^encoder\.layer\.(\d+)\.attention\.self\.pos_key_proj\.": renames(r"blk.\1.attn_rel_k."),
    r"^encoder\.layer\.(\d+)\.attention\.self\.pos_query_proj\.": renames(r"blk.\1.attn_rel_q."),
    **head_steps(
        r"pooler\.dense",
        r"(cls\.predictions\.transform|lm_predictions\.lm_head)\.dense",
        r"(cls\.predictions\.transform|lm_predictions\.lm_head)\.LayerNorm",
        r"cls\.predictions|lm_predictions\.lm_head",
        r"cls\.predictions\.decoder",
    ),
}
CONVERSION = Conversion(
    classes=tuple(f"DebertaV2{end}" for end in ("Model", SORTS, FILLS)),
    defaults={
        "layer_norm_eps": 1e-7,
        "position_biased_input": True,
        "pooler_hidden_act": "gelu",
        "max_position_embeddings": 512,
    },
    keys=keys,
    steps=STEPS,
    named_as="bert",
    needs_json=True,
    own_names=("rel_embd", "rel_embd_norm", "mlm_dense", "mlm_norm", "blk.{}.attn_rel_k", "blk.{}.attn_rel_q"),
    activations=("gelu",),
)
