"""T5 (Raffel et al. 2020, arXiv 1910.10683), T5 1.1, FLAN-T5, mT5 and UMT5: an encoder reads the prompt, and a decoder
with cross attention writes the answer. Scores are not scaled, and biases by distance stand for positions."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, TensorRule, drops, once
from ..hf.streams import Stream
from ..layers import Layers
from ..layers.decoder import gated_mlp, norm
from ..layers.encoder import relative_biases
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.score_bias import ScoreBias
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER_DECODER

KIND = ENCODER_DECODER
MOST_APART = 128  # tokens, from which on all distances share a bucket, as `relative_biases` has it; no key says it


def encode(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the encoder; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    x, biases = g.embed(w.matrix("token_embd.weight", vocab, h.width)), None
    for i in range(h.blocks):
        b = w.part(f"enc.blk.{i}.")
        biases = relative_biases(g, c, h, b, biases, both_ways=True)
        x = g.add(x, self_attention(g, h, b, norm(g, h, b, "attn_norm", x), biases))
        x = g.add(x, mlp(g, h, b, norm(g, h, b, "ffn_norm", x)))
    return norm(g, h, w, "enc.output_norm", x)


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the decoder; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    embedding, biases = w.matrix("token_embd.weight", vocab, h.width), None
    x = g.embed(embedding)
    for i in range(c.integer("decoder_block_count", 1, len(w.gguf.tensors), h.blocks)):
        b = w.part(f"dec.blk.{i}.")
        biases = relative_biases(g, c, h, b, biases, both_ways=False)
        x = g.add(x, self_attention(g, h, b, norm(g, h, b, "attn_norm", x), biases))
        x = g.add(x, cross_attention(g, h, b, norm(g, h, b, "cross_attn_norm", x)))
        x = g.add(x, mlp(g, h, b, norm(g, h, b, "ffn_norm", x)))
    x = norm(g, h, w, "dec.output_norm", g.outputs(x))
    tied = not w.has("output.weight")
    x = g.scale(x, c.number("logit_scale", 1e-9, 1e9, h.width**-0.5 if tied else 1.0))
    return g.logits(x, embedding if tied else w.matrix("output.weight", vocab, h.width))


def self_attention(g: Layers, h: Hyperparameters, w: Weights, x: Value, bias: ScoreBias) -> Value:
    """Attention of x (tokens, width) -> (tokens, width), with `bias` and without a scale."""
    q, k, v = g.linears(x, *(w.linear(f"attn_{name}", h.q_dim, h.width) for name in "qkv"))
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=1.0, bias=bias)
    return g.linear(out, *w.linear("attn_o", h.width, h.q_dim))


def cross_attention(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """Attention of x (tokens, width) to the encoder's states -> (tokens, width)."""
    q, keys, values = (w.linear(f"cross_attn_{name}", h.q_dim, h.width) for name in "qkv")
    out = g.cross_attention(g.linear(x, *q), keys, values, head_dim=h.head_dim, scale=1.0)
    return g.linear(out, *w.linear("cross_attn_o", h.width, h.q_dim))


def mlp(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """down(gelu(gate x) * up x), or down(relu(up x)) in T5 1.0, whose files have no gate in any block."""
    if any(name.endswith(".ffn_gate.weight") for name in w.gguf.tensors):
        return gated_mlp(g, h, w, x, g.geglu)
    return g.linear(g.relu(g.linear(x, *w.linear("ffn_up", h.ffn, h.width))), *w.linear("ffn_down", h.width, h.ffn))


def encoder_keys(s: Settings) -> Keys:
    """Metadata of the encoder from config.json. Raises BadFileError for settings that GGUF cannot say."""
    if s.text("feed_forward_proj") not in ("relu", "gated-gelu"):
        raise s.fail("feed_forward_proj must be relu or gated-gelu", "")
    s.find("dense_act_fn", "is_gated_act")  # follow from feed_forward_proj
    if s.integer("relative_attention_max_distance") != MOST_APART:
        raise s.fail(f"relative_attention_max_distance must be {MOST_APART}", "")
    size, epsilon = s.integer("d_kv"), s.number("layer_norm_epsilon")
    return {
        "context_length": s.integer("n_positions"),
        "embedding_length": s.integer("d_model"),
        "feed_forward_length": s.integer("d_ff"),
        "block_count": s.integer("num_layers"),
        "attention.head_count": s.integer("num_heads"),
        "attention.key_length": size,
        "attention.value_length": size,
        "attention.layer_norm_epsilon": epsilon,
        "attention.relative_buckets_count": s.integer("relative_attention_num_buckets"),
        "attention.layer_norm_rms_epsilon": epsilon,
    }


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    blocks = s.integer("num_decoder_layers", default=s.integer("num_layers"))
    start = s.integer("decoder_start_token_id", default=s.integer("pad_token_id", default=0))
    scale = s.integer("d_model") ** -0.5 if scales(s) else 1.0
    own: Keys = {"decoder_block_count": blocks, "decoder_start_token_id": start, "logit_scale": scale}
    return encoder_keys(s) | own


def scales(s: Settings) -> bool:
    """Whether the decoder's states are scaled and meet the token embedding, as in T5 1.0."""
    tied = s.flag("tie_word_embeddings", default=s.text("model_type") != "mt5")
    return s.flag("scale_decoder_outputs", default=tied)


def output_matrix(s: Settings, x: Stream) -> Stream | dict[str, Stream]:
    """Leave the output matrix out where it is the token embedding."""
    return {} if scales(s) else x


STEPS: dict[str, TensorRule] = {
    r"^((encoder|decoder)\.embed_tokens|shared)\.weight$": once("shared.weight"),  # the same under several names
    r"\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight$": drops(),  # which transformers does not read
    r"^lm_head\.weight$": output_matrix,
}
DEFAULTS = {
    "n_positions": 512,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": MOST_APART,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
}
CONVERSION = Conversion(
    classes=(*(f"{kind}ForConditionalGeneration" for kind in ("T5", "MT5", "UMT5")), "T5WithLMHeadModel"),
    defaults=DEFAULTS,
    keys=keys,
    steps=STEPS,
)
