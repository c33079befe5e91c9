"""Nomic Embed 1 and 1.5 (Nussbaum et al. 2024, arXiv 2402.01613): BERT with rotary embedding and SwiGLU, no biases."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, drops, head_keys, renames
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.decoder import Sublayer, gated_mlp, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER
from .bert import DENSE, FILLS, OUTPUT, head_steps

KIND = ENCODER


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    return rotary_encoder(g, c, w, vocab, partial(gated_mlp, g, activation=g.swiglu))


def rotary_encoder(g: Layers, c: Config, w: Weights, vocab: int, feed_forward: Sublayer) -> Value:
    """States (tokens, width) of BERT with rotary embedding and this `feed_forward`."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    x = blocks.norm(g, h, w, "token_embd_norm", blocks.embedding(g, h, w, vocab))
    return blocks.post_norm_encoder(g, h, w, x, partial(rope_attention, g, rope=rope), feed_forward)


def word_logits(g: Layers, c: Config, w: Weights, vocab: int, x: Value) -> Value:
    """Logits (outputs, vocab) of the states of masked tokens (outputs, width); the activation is SiLU."""
    h = Hyperparameters.read(c, w)
    x = g.linear(x, *w.linear("mlm_dense", h.width, h.width))
    return blocks.word_outputs(g, h, w, vocab, blocks.norm(g, h, w, "mlm_norm", g.sigmoid_gate(x, x)))


def has_experts(s: Settings) -> bool:
    """Whether some blocks have a mixture of experts: another architecture of the same class."""
    return bool(s.find("moe_every_n_layers"))


def rotary_keys(s: Settings, fixed: Mapping[str, Any], *, trained: int) -> Keys:
    """Metadata from config.json; `trained` is the context in tokens, whatever a longer one is stated.

    Raises BadFileError for settings that GGUF cannot say: those of `fixed`, if there, must have its values.
    """
    for name, value in {**FIXED, **fixed}.items():
        if (given := s.find(name)) not in (None, value):
            raise s.fail(f"{name} is {given!r:.40}, which is not supported", "")
    s.find(*TOLD_BY_TENSORS, *OF_TRAINING)
    context = min(s.integer("n_positions", "max_position_embeddings"), trained)
    types = {"tokenizer.ggml.token_type_count": s.integer("type_vocab_size", default=1)}
    return decoder_keys(s) | {"context_length": context, "attention.causal": False} | types | head_keys(s)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    # As in llama.cpp: the models that state 8192 positions were trained on 2048, beyond which they scale RoPE.
    return rotary_keys(s, {"activation_function": "swiglu", "moe_every_n_layers": 0}, trained=2048)


FIXED: Mapping[str, Any] = {
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "prenorm": False,
    "parallel_block": False,
    "use_rms_norm": False,
    "causal": False,
}
TOLD_BY_TENSORS = ("qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", "max_trained_positions", "pad_vocab_size_multiple")
OF_TRAINING = ("fused_bias_fc", "fused_dropout_add_ln", "use_flash_attn", "use_xentropy", "moe_impl", "ffn_div")
CONVERSION = Conversion(
    classes=("NomicBertModel", f"NomicBert{FILLS}"),
    applies=lambda s: not has_experts(s),
    defaults={"rotary_emb_base": 1000.0},
    keys=keys,
    steps={
        r"^(bert|nomic_bert)\.": renames(""),
        r"\.decoder\.bias$": drops(),
        **head_steps("pooler", DENSE, r"cls\.predictions\.transform\.layer_norm", r"cls\.predictions", OUTPUT),
    },
    own_names=("mlm_dense", "mlm_norm"),
    activations=("silu", "swiglu"),
)
