"""Refact 1.6B (Small Magellanic Cloud AI 2023): Llama with linear biases (ALiBi) in place of rotary embedding, and one
head of keys and values."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import UNTIED, Conversion, decoder_keys
from ..hf.streams import Stream, split
from ..layers import Layers
from ..layers.decoder import gated_mlp, pre_norm_decoder
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .bloom import STEEPEST
from .gpt2 import attention

MULTIPLE = 256  # the MLP's width is rounded up to a multiple


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    bias = g.linear_bias(h.heads, STEEPEST)
    return pre_norm_decoder(
        g, h, w, vocab, lambda h, b, x: attention(g, h, b, x, bias), lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu)
    )


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError where queries have keys of their own."""
    if not s.flag("multi_query"):
        raise s.fail("multi_query must be true", "")
    s.find("attention_bias_in_fp32", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32")
    return decoder_keys(s) | {
        "feed_forward_length": -(-(8 * s.integer("n_embd") // 3) // MULTIPLE) * MULTIPLE,
        "attention.head_count_kv": 1,
        "attention.layer_norm_epsilon": None,
        "attention.layer_norm_rms_epsilon": s.number("layer_norm_epsilon"),
    }


def halves(s: Settings, x: Stream) -> list[Stream]:
    """The rows of two matrices of the same size."""
    return split(x, [x.rows // 2, x.rows - x.rows // 2])


LAYER = r"^transformer\.h\.(\d+)\."
CONVERSION = Conversion(
    classes=("GPTRefactForCausalLM",),
    defaults=UNTIED | {"layer_norm_epsilon": 1e-5, "multi_query": True},
    keys=keys,
    steps={
        LAYER + r"attn\.q\.": lambda _, x: {r"blk.\1.attn_q.": x},
        LAYER + r"attn\.kv\.": lambda s, x: dict(
            zip((r"blk.\1.attn_k.", r"blk.\1.attn_v."), halves(s, x), strict=True)
        ),
        LAYER + r"mlp\.gate_up_proj\.": lambda s, x: dict(
            zip((r"blk.\1.ffn_gate.", r"blk.\1.ffn_up."), halves(s, x), strict=True)
        ),
    },
)
