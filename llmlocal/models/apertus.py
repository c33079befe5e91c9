"""Apertus (Swiss AI 2025, arXiv 2509.14233): Qwen3's attention, and an MLP of two matrices with xIELU, whose parameters
are learned for each block."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, UNTIED, Conversion, decoder_keys, drops, llama3_factors
from ..layers import Layers
from ..layers.decoder import decoder, norm
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..layers.xielu import XIELU
from ..runtime.graph import Value
from .qwen3 import attention


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    activations = XIELU.read(c, h.blocks)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        x = g.add(x, attention(g, h, b, norm(g, h, b, "attn_norm", x), rope))
        up = g.linear(norm(g, h, b, "ffn_norm", x), *b.linear("ffn_up", h.ffn, h.width))
        return g.add(x, g.linear(activations[i].apply(g, up), *b.linear("ffn_down", h.width, h.ffn)))

    return decoder(g, h, w, vocab, block)


def keys(s: Settings) -> Keys:
    """Metadata from config.json, and the parameters of xIELU, which are tensors. Raises BadFileError."""
    if s.find("rope_parameters", "rope_scaling") is None:
        s.values["rope_parameters"] = ROPE
    blocks, own = min(s.integer("num_hidden_layers"), MAX_LAYERS), {"beta": 0.5, "eps": -1e-6}
    out = decoder_keys(s) | {"vocab_size": s.integer("vocab_size"), "rope.dimension_count": s.head_dim}
    with s.folder.tensors() as tensors:
        for name in ("alpha_p", "alpha_n", "beta", "eps"):
            values = []
            for i in range(blocks):
                tensor = tensors.get(f"model.layers.{i}.mlp.act_fn.{name}")
                if tensor is None and name not in own:
                    raise s.fail(f"tensor 'model.layers.{i}.mlp.act_fn.{name}' is missing")
                values.append(own[name] if tensor is None else float(tensor.read(0, 1).reshape(-1)[0]))
            out[f"xielu.{name}"] = values
    return out


ROPE = {"rope_type": "llama3", "rope_theta": 12e6, "factor": 8.0, "original_max_position_embeddings": 8192}
ROPE |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
CONVERSION = Conversion(
    classes=("ApertusForCausalLM",),
    defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 12e6},
    keys=keys,
    steps={r"\.mlp\.act_fn\.": drops()},
    extra=llama3_factors,
    activations=("xielu",),
)
