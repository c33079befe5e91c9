"""The words in which an architecture says how it comes out of a Hugging Face folder.

`llmlocal/models/<arch>.py` has a `CONVERSION = Conversion(classes=("LlamaForCausalLM",), ...)`, and that is all: the
file's name is GGUF's name of the architecture, and no list is edited. What is not said is as in a plain decoder: keys
are `decoder_keys`, tensors get GGUF's names from the `gguf` package's map, experts of one layer are stacked, vectors
and norms stay F32, the vocabulary is what the folder holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .config import Keys, Settings, as_integer, as_number
from .streams import Stream, constant, plus, split, take, transposed

Step = Callable[[Settings, Stream], "Stream | dict[str, Stream]"]


def decoder_keys(s: Settings) -> Keys:
    """The keys of a decoder that config.json speaks of in the usual words, under the architecture's prefix.

    An architecture adds its own: `decoder_keys(s) | {"vocab_size": s.integer("vocab_size")}`; a key that begins with
    `general.` or `tokenizer.` gets no prefix. None stands for a key that is not written.
    """
    shapes = {
        "block_count": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
        "context_length": ("max_position_embeddings", "n_ctx", "n_positions", "max_sequence_length"),
        "embedding_length": ("hidden_size", "n_embd", "dim"),
        "feed_forward_length": ("intermediate_size", "n_inner", "hidden_dim"),
        "attention.head_count": ("num_attention_heads", "n_head", "n_heads"),
        "attention.head_count_kv": ("num_key_value_heads", "n_kv_heads"),
        "expert_count": ("num_local_experts", "num_experts", "n_routed_experts"),
        "expert_used_count": ("num_experts_per_tok", "num_experts_per_token", "top_k_experts"),
        "attention.key_length": ("head_dim",),
        "attention.value_length": ("head_dim",),
    }
    epsilons = {
        "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps"),
        "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    }
    out: Keys = {key: s.integer(*names) for key, names in shapes.items() if s.find(*names) is not None}
    out |= {key: s.number(*names) for key, names in epsilons.items() if s.find(*names) is not None}
    if s.find("is_causal") is False:
        out["attention.causal"] = False
    return out | rope_keys(s)


def rope_keys(s: Settings) -> Keys:
    """Base frequency and scaling. The factors of `llama3` and `longrope` are tensors: `llama3_factors`."""
    out: Keys = {}
    kind, factor = s.rope.get("rope_type"), s.rope.get("factor")
    if kind in ("linear", "yarn") and factor is not None:
        out = {"rope.scaling.type": kind, "rope.scaling.factor": as_number(s, "factor", factor)}
    elif kind in ("su", "longrope"):
        out = {"rope.scaling.type": "longrope"}
    if kind == "yarn" and factor is not None:
        length = s.rope.get("original_max_position_embeddings") or s.integer("max_position_embeddings")
        out["rope.scaling.original_context_length"] = as_integer(s, "original_max_position_embeddings", length)
        numbers = {
            "rope.scaling.yarn_ext_factor": s.rope.get("extrapolation_factor"),
            "rope.scaling.yarn_attn_factor": s.rope.get("attention_factor", s.rope.get("attn_factor")),
            "rope.scaling.yarn_beta_fast": s.rope.get("beta_fast"),
            "rope.scaling.yarn_beta_slow": s.rope.get("beta_slow"),
        }
        out |= {key: as_number(s, key, value) for key, value in numbers.items() if value is not None}
    bases = {"rope.freq_base": s.rope.get("rope_theta"), "rope.freq_base_swa": s.local_rope.get("rope_theta")}
    return out | {key: as_number(s, "rope_theta", value) for key, value in bases.items() if value is not None}


def window_keys(s: Settings, *, period: int) -> Keys:
    """The sliding window, and which blocks have it where the last of every `period` is not the only one without."""
    if s.find("sliding_window") is None:
        return {}
    out: Keys = {"attention.sliding_window": s.integer("sliding_window")}
    slides = [kind == "sliding_attention" for kind in s.items("layer_types")]
    said = s.integer("sliding_window_pattern", "_sliding_window_pattern", default=period)
    if slides and slides != [not period or i % period < period - 1 for i in range(len(slides))]:
        out["attention.sliding_window_pattern"] = slides
    elif not slides and said != period:
        out["attention.sliding_window_pattern"] = said
    return out


def longrope_keys(s: Settings) -> Keys:
    """What rotates, the original context, and by how much longrope enlarges the rotated values."""
    turned = int(s.head_dim * as_number(s, "partial_rotary_factor", s.rope.get("partial_rotary_factor", 1.0)))
    original = s.integer("original_max_position_embeddings", default=s.integer("max_position_embeddings"))
    out: Keys = {"rope.dimension_count": turned, "rope.scaling.original_context_length": original}
    if "long_factor" not in s.rope:
        return out
    scale = s.integer("max_position_embeddings") / max(original, 1)
    sharper = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 and original > 1 else 1.0
    return out | {
        "rope.scaling.attn_factor": as_number(s, "attention_factor", s.rope.get("attention_factor") or sharper)
    }


def no_tensors(_: Settings) -> dict[str, Stream]:
    """Nothing that is not in the safetensors files."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How the folders of some classes of transformers become GGUF files of one architecture.

    `classes`: what config.json calls the model. `keys`: hyper-parameters as GGUF's keys; they win over the
    vocabulary's. `defaults`: what transformers assumes of settings that config.json leaves out. `steps`: regular
    expressions, searched in a tensor's name, each with what is done to the tensor; all that match are done in order.
    A step returns the tensor, or several: what the expression matched is replaced by each one's name, in which \\1 is
    its first group; none drops the tensor. `extra`: tensors made from the settings, by their GGUF names.
    `vocabulary`: the keys `tokenizer.*`; None reads the tokenizer files of the folder, of whatever kind they are.
    """

    classes: tuple[str, ...]
    keys: Callable[[Settings], Keys] = decoder_keys
    defaults: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Step] = field(default_factory=dict)
    extra: Callable[[Settings], Mapping[str, Stream]] = no_tensors
    vocabulary: Callable[[Settings], Keys] | None = None


# ---- steps --------------------------------------------------------------------------------------------------------


def adds(number: float) -> Step:
    """Every value plus `number`: Gemma's norms are stored less one."""
    return lambda _, x: plus(x, number)


def swaps(_: Settings, x: Stream) -> Stream:
    """A matrix that is stored input by output: GPT-2's."""
    return transposed(x)


def drops(_: Settings, __: Stream) -> dict[str, Stream]:
    """A tensor that GGUF has no use for."""
    return {}


def renames(name: str) -> Step:
    """Another name in the place of what the expression matched."""
    return lambda _, x: {name: x}


def cuts(*names: str) -> Step:
    """Equal parts of the rows (of each expert), by name: `"gate_up_proj": cuts("gate_proj", "up_proj")`."""

    def step(s: Settings, x: Stream) -> dict[str, Stream]:
        size = x.shape[-2] if len(x.shape) > 1 else x.k
        if size % len(names):
            raise s.fail(f"a fused tensor of {size} rows is no {len(names)} equal parts")
        return dict(zip(names, split(x, [size // len(names)] * len(names)), strict=True))

    return step


def cuts_qkv(*names: str) -> Step:
    """The rows of queries, keys and values: `"qkv_proj": cuts_qkv("q_proj", "k_proj", "v_proj")`."""

    def step(s: Settings, x: Stream) -> dict[str, Stream]:
        heads = [s.integer("num_attention_heads"), s.kv_heads, s.kv_heads]
        return dict(zip(names, split(x, [n * s.head_dim for n in heads]), strict=True))

    return step


def pairs_turned(*heads: str) -> Step:
    """Rows of each head from transformers' order, all first halves of the rotated pairs and then all second halves, to
    pairs side by side (Llama's in GGUF). `heads` are the names of the setting that counts them.
    """

    def step(s: Settings, x: Stream) -> Stream:
        count, size = s.integer(*heads), x.shape[0]
        if not count or size % (2 * count):
            raise s.fail(f"a tensor of {size} rows is no {count} heads of pairs")
        return take(x, np.arange(size).reshape(count, 2, -1).swapaxes(1, 2).reshape(-1))

    return step


# ---- tensors out of settings --------------------------------------------------------------------------------------


def llama3_factors(s: Settings) -> dict[str, Stream]:
    """`rope_freqs.weight`: by what Llama 3.1 divides each pair's frequency, (head_dim / 2,); nothing for other ropes.

    Short waves turn as before, long ones slower by `factor`, those between by a mean (transformers' rope type llama3).
    """
    if str(s.rope.get("rope_type", "")).lower() != "llama3":
        return {}
    numbers = {"rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    base, factor, low, high = (as_number(s, name, s.rope.get(name, other)) for name, other in numbers.items())
    original = as_number(s, "original_max_position_embeddings", s.rope.get("original_max_position_embeddings", 8192))
    if min(base, factor, low, high, original) <= 0 or low >= high:
        raise s.fail("rope_parameters are out of range")
    powers = np.arange(0, s.head_dim, 2, dtype=np.float32) / np.float32(s.head_dim)
    waves = 2 * np.pi * np.float32(base) ** powers
    smooth = (original / waves - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    factors = np.where(waves < original / high, 1.0, np.where(waves > original / low, factor, between))
    return {"rope_freqs.weight": constant(factors)}


def longrope_factors(s: Settings) -> dict[str, Stream]:
    """`rope_factors_short.weight` and `_long`: by what longrope divides each pair's frequency, (turned / 2,)."""
    out = {}
    for size in ("short", "long"):
        factors = s.rope.get(f"{size}_factor")
        if factors is None:
            continue
        if not isinstance(factors, list) or not factors:
            raise s.fail(f"{size}_factor must be a list of numbers")
        out[f"rope_factors_{size}.weight"] = constant([as_number(s, f"{size}_factor", factor) for factor in factors])
    return out
