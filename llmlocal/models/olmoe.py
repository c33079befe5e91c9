"""OLMoE (Muennighoff et al. 2024, arXiv 2409.02060): a mixture of experts in every block, whose weights are not
normalized; queries and keys are normalized over all heads together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..layers import Layers
from ..layers.decoder import mixture_of_experts, pre_norm_decoder
from ..layers.hyperparameters import Experts, Hyperparameters
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .olmo2 import attention

RotaryAttention = Callable[[Layers, Hyperparameters, Weights, Value, Rope], Value]


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    return mixture_decoder(g, c, w, vocab, partial(attention, window=None), normalize_weights=False)


def mixture_decoder(
    g: Layers, c: Config, w: Weights, vocab: int, attention: RotaryAttention, *, normalize_weights: bool
) -> Value:
    """Logits (outputs, vocab) of a decoder with a mixture of experts in every block, whose weights may sum to 1."""
    h = Hyperparameters.read(c, w)
    e = Experts.read(c, h)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)

    def experts(h: Hyperparameters, b: Weights, x: Value) -> Value:
        return mixture_of_experts(g, h, e, b, x, g.swiglu, normalize_weights=normalize_weights)

    return pre_norm_decoder(g, h, w, vocab, lambda h, b, x: attention(g, h, b, x, rope), experts)


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for normalized expert weights, and for limited queries."""
    if s.flag("norm_topk_prob"):
        raise s.fail("norm_topk_prob is true, and GGUF has no key for it")
    if s.find("clip_qkv") is not None:
        raise s.fail("clip_qkv is not supported", "")
    return decoder_keys(s)


CONVERSION = Conversion(
    classes=("OlmoeForCausalLM",), defaults=UNTIED | {"rms_norm_eps": 1e-5, "rope_theta": 10000.0}, keys=keys
)
