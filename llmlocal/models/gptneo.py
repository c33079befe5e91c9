"""GPT-Neo (EleutherAI 2021): GPT-2 whose scores are not scaled; every other block has a sliding window. GGUF has no
name for it; keys and tensors are GPT-2's, with separate queries, keys and values."""

from __future__ import annotations

from functools import partial

from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, Conversion, decoder_keys, drops, renames
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.decoder import rope_attention
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from .gpt2 import SEPARATE_QKV, mlp, positional_decoder

PERIOD = 0  # files say which blocks have a window


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    all_windows = windows(c, c.integer("block_count", 1, 1 << 12), period=PERIOD)

    def attention(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        return rope_attention(g, h, b, x, None, scale=1.0, window=all_windows[i])

    return positional_decoder(g, c, w, vocab, attention, partial(mlp, g))


def kinds_of_layers(s: Settings) -> list[object]:
    """Whether each layer is "global" or "local": `attention_types` has patterns, each with how often it is repeated."""
    kinds: list[object] = []
    for item in s.items("attention_types"):
        match item:
            case [list(pattern), int(count)] if 0 < count <= MAX_LAYERS and len(pattern) <= MAX_LAYERS:
                kinds += pattern * count
            case _:
                raise s.fail("attention_types must be a list of patterns and how often they are repeated")
    return s.items("attention_layers") or kinds


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for other kinds of attention than global and local."""
    width, kinds = s.integer("hidden_size"), kinds_of_layers(s)
    if len(kinds) != s.integer("num_layers") or not all(kind in ("global", "local") for kind in kinds):
        raise s.fail("attention_types must say of each layer whether it is global or local")
    s.note("llama.cpp does not know this architecture")
    return decoder_keys(s) | {
        "feed_forward_length": s.integer("intermediate_size", default=4 * width),
        "attention.head_count": s.integer("num_heads"),
        "attention.sliding_window": s.integer("window_size"),
        "attention.sliding_window_pattern": [kind == "local" for kind in kinds],
    }


CONVERSION = Conversion(
    classes=("GPTNeoForCausalLM",),
    defaults={
        "layer_norm_epsilon": 1e-5,
        "window_size": 256,
        "attention_types": [[["global", "local"], 12]],
        "activation_function": "gelu_new",
    },
    keys=keys,
    steps={
        r"^transformer\.h\.(\d+)\.attn\.attention\.([qkv])_proj": renames(r"blk.\1.attn_\2"),
        r"attn\.attention\.out_proj": renames("attn.c_proj"),
        r"\.attn\.attention\.(masked_)?bias$": drops(),
    },
    named_as="gpt2",
    own_names=SEPARATE_QKV,
    activations=TANH_GELU,
)
