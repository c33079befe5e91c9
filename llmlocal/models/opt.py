"""OPT (Zhang et al. 2022, arXiv 2205.01068): GPT-2 with ReLU. GGUF has no name for it; keys and tensors are GPT-2's,
with separate queries, keys and values."""

from __future__ import annotations

from functools import partial

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, decoder_keys, renames
from ..hf.streams import Stream, part
from ..layers import Layers
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import SEPARATE_QKV, attention, mlp, positional_decoder

SKIPPED = 2  # rows of positions before that of the first token


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    feed_forward = partial(mlp, g, activation=g.relu)
    return positional_decoder(g, c, w, vocab, lambda _, h, b, x: attention(g, h, b, x), feed_forward)


FIXED = {"do_layer_norm_before": True, "enable_bias": True, "layer_norm_elementwise_affine": True}
FIXED |= {"_remove_final_layer_norm": False}


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for the variants of OPT 350M and Galactica."""
    for name, value in {**FIXED, "word_embed_proj_dim": s.integer("hidden_size")}.items():
        if (given := s.find(name)) not in (None, value):
            raise s.fail(f"{name} is {given!r:.40}, which is not supported", "")
    s.note("llama.cpp does not know this architecture")
    return decoder_keys(s) | {"feed_forward_length": s.integer("ffn_dim"), "attention.layer_norm_epsilon": 1e-5}


def from_the_first(_: Settings, x: Stream) -> Stream:
    """The rows of positions that tokens have."""
    return part(x, SKIPPED, x.rows)


LAYER, TO = r"^layers\.(\d+)\.", r"transformer.h.\1."
CONVERSION = Conversion(
    classes=("OPTForCausalLM",),
    keys=keys,
    steps={
        r"^(?:model\.)?decoder\.": renames(""),
        r"^embed_positions\.": from_the_first,
        r"^embed_positions": renames("transformer.wpe"),
        r"^embed_tokens": renames("transformer.wte"),
        r"^final_layer_norm": renames("transformer.ln_f"),
        rf"{LAYER}self_attn_layer_norm": renames(f"{TO}ln_1"),
        rf"{LAYER}final_layer_norm": renames(f"{TO}ln_2"),
        rf"{LAYER}self_attn\.([qkv])_proj": renames(r"blk.\1.attn_\2"),
        rf"{LAYER}self_attn\.out_proj": renames(f"{TO}attn.c_proj"),
        rf"{LAYER}fc1": renames(f"{TO}mlp.c_fc"),
        rf"{LAYER}fc2": renames(f"{TO}mlp.c_proj"),
    },
    named_as="gpt2",
    own_names=SEPARATE_QKV,
    activations=("relu",),
)
