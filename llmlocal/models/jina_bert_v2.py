"""Jina Embeddings 2 (Günther et al. 2023, arXiv 2310.19923): BERT with linear biases (ALiBi) to both sides in the place
of positions, and GeGLU. In the model for code queries and keys are normalized, and attention has a norm more."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, TensorRule, cuts, decoder_keys, drops, renames
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.decoder import attention_output, gated_mlp, qkv_weights
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.score_bias import ScoreBias
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER
from .modern_bert import mlp as fused_mlp

KIND = ENCODER
STEEPEST = 8  # of the linear biases, as llama.cpp has it; files do not say it


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    bias = g.linear_bias(h.heads, STEEPEST)
    of_code = any(w.has(f"blk.0.{name}.weight") for name in ("attn_q_norm", "attn_k_norm", "attn_norm_2"))
    x = blocks.norm(g, h, w, "token_embd_norm", blocks.embedding(g, h, w, vocab))
    for i in range(h.blocks):
        h, b = h.block(i), w.block(i)
        attended = blocks.norm(g, h, b, "attn_output_norm", g.add(attention(g, h, b, x, bias, normed=of_code), x))
        if of_code:
            attended = blocks.norm(g, h, b, "attn_norm_2", g.add(attended, x))
        x = blocks.norm(g, h, b, "layer_output_norm", g.add(mlp(g, h, b, attended), attended))
    return x


def attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, bias: ScoreBias, *, normed: bool) -> Value:
    """Attention of x (tokens, width) with biases by distance, of `normed` queries and keys -> (tokens, width)."""
    q, k, v = g.linears(x, *qkv_weights(h, w))
    if normed:
        q, k = blocks.norm(g, h, w, "attn_q_norm", q), blocks.norm(g, h, w, "attn_k_norm", k)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, bias=bias)
    return attention_output(g, h, w, out)


def mlp(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """down(gelu_erf(gate x) * up x); newer files have gate and up as one matrix, gate first."""
    if w.has("ffn_gate.weight"):
        return gated_mlp(g, h, w, x, g.geglu_erf)
    return fused_mlp(g, h, w, x, g.geglu_erf)


def classifier(g: Layers, c: Config, w: Weights, x: Value) -> Value:
    """Scores (outputs, labels) of pooled states (outputs, width).

    Files of Jina Reranker 1 have a single layer, `cls`, and a tanh after it, as in llama.cpp.
    """
    h = Hyperparameters.read(c, w)
    if w.has("cls.output.weight"):
        return blocks.tanh_classifier(g, h, w, x)
    return g.tanh(g.linear(x, *w.linear("cls", 1, h.width)))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    for name, value in {"position_embedding_type": "alibi", "feed_forward_type": "geglu"}.items():
        if s.find(name) != value:
            raise s.fail(f"{name} must be {value}", "")
    s.find("emb_pooler", "model_max_length")  # sentence-transformers' files say how states are pooled
    types = {"tokenizer.ggml.token_type_count": s.integer("type_vocab_size", default=2)}
    return decoder_keys(s) | {"attention.causal": False} | types


LAYER = r"^encoder\.layer\.(\d+)\."
GATE, UP = (rf"encoder.layer.\1.mlp.gated_layers_{name}.weight" for name in "wv")
STEPS: dict[str, TensorRule] = {
    r"^bert\.": renames(""),
    r"^pooler\.|^cls\.": drops(),
    rf"{LAYER}mlp\.gated_layers\.weight$": cuts(GATE, UP),
    rf"{LAYER}mlp\.up_gated_layer\.weight$": cuts(UP, GATE),  # here the gate comes second
}
CONVERSION = Conversion(
    classes=("JinaBertModel", "JinaBertForMaskedLM"),
    defaults={"layer_norm_eps": 1e-12, "max_position_embeddings": 512},
    keys=keys,
    steps=STEPS,
    activations=("gelu",),
)
