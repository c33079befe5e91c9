"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): an encoder with rotary embedding, norms before sublayers, GeGLU,
and a sliding window in all blocks but the first of every three. Windowed blocks have a RoPE base of their own."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, TensorRule, decoder_keys, drops_if_tied, head_keys, renames
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.decoder import Activation, rope_attention, slice_linear
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER
from .bert import FILLS, SORTS, only_in

KIND = ENCODER
RANK_POOLING = "mean"


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    full = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    base = c.number("rope.freq_base_swa", 1e-3, 1e12, 10000.0)
    local = g.rope(unscaled_rope(h.rotary_dim, base), interleaved=False)
    window = c.integer("attention.sliding_window", 1, 1 << 31)
    period = c.integer("attention.sliding_window_pattern", 1, 1 << 12, 3)
    activations: dict[str, Activation] = {"gelu": g.geglu_erf, "silu": g.swiglu}
    kind = c.text("hidden_activation", "gelu")
    if kind not in activations:
        raise c.fail(f"{c.arch}.hidden_activation is {kind!r:.40}; supported are {', '.join(activations)}")
    x = norm(g, h, w, "token_embd_norm", g.embed(w.matrix("token_embd.weight", vocab, h.width)))
    for i in range(h.blocks):
        h, b, slides = h.block(i), w.block(i), i % period > 0
        normed = norm(g, h, b, "attn_norm", x) if i else x
        rope, reach = (local, window) if slides else (full, None)
        x = g.add(rope_attention(g, h, b, normed, rope, window=reach), x)
        x = g.add(mlp(g, h, b, norm(g, h, b, "ffn_norm", x), activations[kind]), x)
    return norm(g, h, w, "output_norm", x)


def norm(g: Layers, h: Hyperparameters, w: Weights, name: str, x: Value) -> Value:
    """Layer norm of whole tokens, without a bias unless the file has one."""
    return g.layer_norm(x, w.vector(f"{name}.weight", h.width), w.maybe_vector(f"{name}.bias", h.width), h.eps)


def mlp(g: Layers, h: Hyperparameters, w: Weights, x: Value, activation: Activation) -> Value:
    """down(activation(gate x, up x)); gate and up are the halves of one matrix."""
    fused = w.linear("ffn_up", 2 * h.ffn, h.width)
    gate, up = g.linears(x, slice_linear(fused, 0, h.ffn), slice_linear(fused, h.ffn, 2 * h.ffn))
    return g.linear(activation(gate, up), *w.linear("ffn_down", h.width, h.ffn))


def classifier(g: Layers, c: Config, w: Weights, x: Value) -> Value:
    """Scores (outputs, labels) of the mean states of texts (outputs, width)."""
    h = Hyperparameters.read(c, w)
    x = norm(g, h, w, "cls.norm", g.gelu_erf(g.linear(x, *w.linear("cls", h.width, h.width))))
    return g.linear(x, *blocks.labels(w, h.width))


def word_logits(g: Layers, c: Config, w: Weights, vocab: int, x: Value) -> Value:
    """Logits (outputs, vocab) of the states of masked tokens (outputs, width)."""
    return blocks.masked_word_logits(g, Hyperparameters.read(c, w), w, vocab, x, norm)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    period, kinds = s.integer("global_attn_every_n_layers", default=3), s.items("layer_types")
    if kinds and kinds != ["sliding_attention" if i % max(period, 1) else "full_attention" for i in range(len(kinds))]:
        raise s.fail("layer_types has a pattern that is not supported", "")
    head = head_keys(s)
    if head and s.text("classifier_pooling", default="cls") != RANK_POOLING:
        raise s.fail(f"classifier_pooling must be {RANK_POOLING}", "")
    s.find(*TOLD_BY_TENSORS)
    return (
        decoder_keys(s)
        | head
        | {
            "attention.layer_norm_epsilon": s.number("norm_eps", "layer_norm_eps"),
            "attention.layer_norm_rms_epsilon": None,
            "attention.sliding_window": s.integer("local_attention"),
            "attention.sliding_window_pattern": period,
            "attention.causal": False,
            "vocab_size": s.integer("vocab_size"),
            "hidden_activation": s.text("hidden_activation", default="gelu"),
        }
    )


def part_of_head(name: str, scores: str) -> TensorRule:
    """Rename a part of the head: `scores` in a classifier, mlm_`name` in a model for masked words."""
    fills = only_in(FILLS, f"mlm_{name}.")
    return lambda s, x: only_in(SORTS, f"{scores}.")(s, x) or fills(s, x)


TOLD_BY_TENSORS = ("norm_bias", "decoder_bias", "classifier_bias", "classifier_pooling", "reference_compile")
STEPS: dict[str, TensorRule] = {
    r"^model\.": renames(""),
    r"^decoder\.bias$": only_in(FILLS, "lm_head.bias"),
    r"^decoder\.weight$": only_in(FILLS, "lm_head.weight"),
    r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True),
    r"^classifier\.(weight|bias)$": only_in(SORTS, r"cls.output.\1"),
    r"^head\.dense\.": part_of_head("dense", "cls"),
    r"^head\.norm\.": part_of_head("norm", "cls.norm"),
}
CONVERSION = Conversion(
    classes=tuple(f"ModernBert{end}" for end in ("Model", SORTS, FILLS)),
    defaults={
        "norm_eps": 1e-5,
        "local_attention": 128,
        "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0,
        "max_position_embeddings": 8192,
    },
    keys=keys,
    steps=STEPS,
    own_names=("mlm_dense", "mlm_norm"),
    activations=("gelu", "silu"),
)
