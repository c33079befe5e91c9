"""Baichuan and Baichuan 2 (Yang et al. 2023, arXiv 2309.10305): Llama with fused projections in its folders; the 13B
models have linear biases (ALiBi) in place of rotary embedding."""

from __future__ import annotations

import numpy as np

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, cuts
from ..hf.streams import Stream, Values
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder, rope_attention
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value
from .bloom import STEEPEST
from .gpt2 import attention
from .llama import PERMUTED_QK, llama_keys

BLOCKS_13B = 40  # no key or setting says which models have linear biases
VOCABULARY_2 = 125696  # of Baichuan 2, whose output matrix is used with rows of length 1


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    parameters = rope_parameters(c, w, h, g.cache.n_ctx)
    bias = g.linear_bias(h.heads, STEEPEST) if h.blocks == BLOCKS_13B else None
    rope = None if bias else g.rope(parameters, interleaved=True)

    def attend(h: Hyperparameters, b: Weights, x: Value) -> Value:
        return attention(g, h, b, x, bias) if bias else rope_attention(g, h, b, x, rope)

    return pre_norm_decoder(g, h, w, vocab, attend, lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu))


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    s.find("z_loss_weight")  # of training
    length = s.integer("max_position_embeddings", "model_max_length")
    return llama_keys(s) | {"context_length": length, "tensor_data_layout": "Meta AI original pth"}


def unit_rows(s: Settings, x: Stream) -> Stream:
    """The output matrix of Baichuan 2 with rows of length 1, as its own code uses it; others as they are."""
    if s.integer("vocab_size") != VOCABULARY_2:
        return x

    def read(first: int, end: int) -> Values:
        rows = x.read(first, end).astype("f4")
        unit: Values = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return unit

    return Stream(x.shape, "F32", read)


CONVERSION = Conversion(
    classes=("BaichuanForCausalLM", "BaiChuanForCausalLM"),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    keys=keys,
    steps={r"W_pack": cuts("q_proj", "k_proj", "v_proj"), r"^lm_head\.weight$": unit_rows, **PERMUTED_QK},
)
