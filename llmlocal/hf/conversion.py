"""The rules by which an architecture is converted from a Hugging Face folder.

`llmlocal/models/<arch>.py` has a `CONVERSION = Conversion(classes=("LlamaForCausalLM",), ...)`; the file's name is
GGUF's name of the architecture, and no list is edited. The defaults are those of a plain decoder: keys are
`decoder_keys`, tensors get their names from the `gguf` package's map, experts of one layer are stacked, vectors and
norms stay F32, the vocabulary is read from the folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..gguf.values import ValueType
from .config import Keys, Settings, as_integer, as_number
from .streams import Stream, constant, padded, plus, reshaped, split, take, transposed
from .text_part import text_defaults

if TYPE_CHECKING:
    from .folder import Folder

RANK = 4  # GGUF's pooling type of models that score texts
MAX_LAYERS = 1 << 12  # of a list made from a number that nobody has checked yet
NEVER = 1e30  # divides the frequencies of pairs that are not rotated
UNTIED: dict[str, Any] = {"tie_word_embeddings": False}  # the default of classes whose output matrix is their own
WITHOUT_MTP = "the block that predicts further tokens (MTP) is left out"
TensorRule = Callable[[Settings, Stream], "Stream | dict[str, Stream]"]


def decoder_keys(s: Settings) -> Keys:
    """The keys of a decoder with the usual settings; the architecture's prefix is added later.

    An architecture adds its own: `decoder_keys(s) | {"vocab_size": s.integer("vocab_size")}`; a key that begins with
    `general.`, `tokenizer.` or `xielu.` gets no prefix. A key with value None is not written.
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
    out: Keys = {key: _integer_or_each(s, *names) for key, names in shapes.items() if s.find(*names) is not None}
    out |= {key: s.number(*names) for key, names in epsilons.items() if s.find(*names) is not None}
    if s.find("is_causal") is False:
        out["attention.causal"] = False
    return out | rope_keys(s)


def _integer_or_each(s: Settings, *names: str) -> int | list[int]:
    """An integer, or one for each layer."""
    value = s.find(*names)
    return [as_integer(s, names[0], each) for each in value] if isinstance(value, list) and value else s.integer(*names)


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


def rotary_keys(s: Settings) -> Keys:
    """Rotary dimensions of a head, of which only the part `partial_rotary_factor` is rotated."""
    part = as_number(s, "partial_rotary_factor", s.rope.get("partial_rotary_factor", 1.0))
    return {"rope.dimension_count": int(s.head_dim * part)}


def window_keys(s: Settings, *, period: int) -> Keys:
    """The sliding window; also its pattern, unless every `period`-th layer alone has full attention."""
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


def sliding_layers(s: Settings, *, period: int) -> list[bool]:
    """Whether each layer has a sliding window, by default all but the last of every `period`."""
    kinds = s.items("layer_types")
    layers = min(s.integer("num_hidden_layers"), MAX_LAYERS)
    return [kind == "sliding_attention" for kind in kinds] or [i % period < period - 1 for i in range(layers)]


def plain_window_keys(s: Settings) -> Keys:
    """The sliding window of an architecture whose every layer has it; none where it is as long as the context.

    llama.cpp reads files of such an architecture without the key, which gets a note.
    """
    keys = window_keys(s, period=0)
    window = keys.get("attention.sliding_window", 0)
    if not 0 < window < s.integer("max_position_embeddings", default=1 << 31):
        return {}
    s.note(f"attention has a sliding window of {window} tokens, which llama.cpp ignores for this architecture")
    return keys


def longrope_keys(s: Settings) -> Keys:
    """Rotary dimensions, the original context, and longrope's scale of the rotated values (attn_factor)."""
    original = s.integer("original_max_position_embeddings", default=s.integer("max_position_embeddings"))
    out = rotary_keys(s) | {"rope.scaling.original_context_length": original}
    if "long_factor" not in s.rope:
        return out
    scale = s.integer("max_position_embeddings") / max(original, 1)
    sharper = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 and original > 1 else 1.0
    return out | {
        "rope.scaling.attn_factor": as_number(s, "attention_factor", s.rope.get("attention_factor") or sharper)
    }


def no_tensors(_: Settings) -> dict[str, Stream]:
    """No tensors besides those of the safetensors files."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How folders of some classes of transformers become GGUF files of one architecture.

    `classes`: values of `architectures` in config.json; `applies`: whether its settings are those of this architecture,
    where several have the class. `keys`: hyper-parameters as GGUF's keys; they override the vocabulary's. `defaults`:
    transformers' defaults of settings that config.json may leave out (tie_word_embeddings: true, see UNTIED). `steps`:
    regular expressions, searched in a tensor's name, each with a rule; all that match are applied in order. A rule
    returns a tensor, or several by name: each name replaces what the expression matched (\\1 is its first group); an
    empty dict drops the tensor. `extra`: tensors made from the settings, by GGUF name. `vocabulary`: the keys
    `tokenizer.*`; None reads the tokenizer files of the folder. `named_as`: the architecture whose map of tensor names
    in the `gguf` package is used; "" for the one itself. `own_names`: names, without suffix, that the map lacks and
    that `steps` give, with `{}` for the number of a block. `modules`: kinds of sentence-transformers' modules that
    `keys` and `extra` read. `ranked_merges`: GGUF's kind of tokenizer for SentencePiece's BPE with its merges; without
    one it gets scores. `needs_json`: SentencePiece's own file does not say how texts are read, tokenizer.json does.
    `of_predictor`: of keys that are lists, an element for each block that predicts further tokens.
    `activations`: the names of the activation function that is computed; `whole_pairs`: whether YaRN's ramp is rounded
    to whole pairs. `integers`: tensors of integers, by their names in the folder.
    """

    classes: tuple[str, ...]
    applies: Callable[[Settings], bool] = lambda _: True
    keys: Callable[[Settings], Keys] = decoder_keys
    defaults: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, TensorRule] = field(default_factory=dict)
    extra: Callable[[Settings], Mapping[str, Stream]] = no_tensors
    vocabulary: Callable[[Settings], Keys] | None = None
    named_as: str = ""
    own_names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    ranked_merges: str = ""
    needs_json: bool = False
    activations: tuple[str, ...] = ("silu", "swish")
    of_predictor: Callable[[Settings], Keys] = lambda _: {}
    whole_pairs: bool = True
    integers: tuple[str, ...] = ()

    def settings(self, folder: Folder, inner: str = "") -> Settings:
        """The settings of a folder, with the defaults of these classes; of the text model of class `inner` inside."""
        if not inner:
            return Settings(folder, self.defaults)
        s = Settings(folder, {**text_defaults(folder.json("config.json")), **self.defaults})
        s.values["architectures"] = [inner]
        return s


def head_keys(s: Settings) -> Keys:
    """Keys of the head that an encoder's class adds to it: how it pools, and its labels.

    A head for masked words gets a note: llama.cpp does not load files that have one.
    """
    name = str(s.items("architectures")[0])
    if name.endswith("ForMaskedLM"):
        s.note("the head for masked words is kept, for `fill`; llama.cpp does not load files that have one")
    if not name.endswith("ForSequenceClassification"):
        return {}
    labels = s.find("id2label")
    names = [text for text in labels.values() if isinstance(text, str)] if isinstance(labels, dict) else []
    stated = {"classifier.output_labels": (ValueType.STRING, names)} if names else {}
    return {"pooling_type": (ValueType.U32, RANK), **stated}


# ---- rules --------------------------------------------------------------------------------------------------------


def adds(number: float) -> TensorRule:
    """Add `number` to every value: transformers stores Gemma's norms minus one."""
    return lambda _, x: plus(x, number)


def swaps(_: Settings, x: Stream) -> Stream:
    """Transpose: GPT-2's matrices are stored (inputs, outputs)."""
    return transposed(x)


def drops(note: str = "") -> TensorRule:
    """Leave the tensor out, and tell the user `note` once, if there is one."""

    def step(s: Settings, x: Stream) -> dict[str, Stream]:
        if note and note not in s.notes:
            s.note(note)
        return {}

    return step


def decay_rates(_: Settings, x: Stream) -> Stream:
    """A_log as -e^x: the rates at which recurrent states decay."""
    return constant(-np.exp(x.read(0, x.rows).astype(np.float32)).reshape(x.shape))


def as_column(_: Settings, x: Stream) -> Stream:
    """A vector (n,) as (n, 1), as GGUF has the rates and skips of Mamba."""
    return constant(x.read(0, 1)[0][:, None])


def squeezes(s: Settings, x: Stream) -> Stream:
    """Drop a dimension of 1 in the middle: taps of a convolution of single channels, (channels, 1, size)."""
    if len(x.shape) != 3 or x.shape[1] != 1:
        raise s.fail(f"a convolution has the shape {x.shape}, its second dimension must be 1")
    return reshaped(x, x.shape[0], x.k)


def drops_if_tied(*, llama_cpp_reads_it: bool) -> TensorRule:
    """Leave the output matrix out where the embedding is used in its place, as transformers does by default.

    Elsewhere it is kept, with a note where llama.cpp refuses files of this architecture that have one.
    """

    def step(s: Settings, x: Stream) -> Stream | dict[str, Stream]:
        if s.flag("tie_word_embeddings", default=True):
            return {}
        if not llama_cpp_reads_it:
            s.note("the model has an output matrix of its own, with which llama.cpp does not load this architecture")
        return x

    return step


def renames(name: str) -> TensorRule:
    """Replace what the expression matched by `name`."""
    return lambda _, x: {name: x}


def once(name: str) -> TensorRule:
    """Replace what the expression matched by `name`, in the first tensor; leave out others, which are the same."""

    def step(s: Settings, x: Stream) -> dict[str, Stream]:
        if name in s.once:
            return {}
        s.once.add(name)
        return {name: x}

    return step


def pads_vocabulary(s: Settings, x: Stream) -> Stream:
    """Rows of zeros up to vocab_size: tokens of images and sound, which have no embedding."""
    return padded(x, s.integer("vocab_size", default=x.rows))


def cuts(*names: str) -> TensorRule:
    """Cut the rows (of each expert) into equal parts: `"gate_up_proj": cuts("gate_proj", "up_proj")`."""

    def step(s: Settings, x: Stream) -> dict[str, Stream]:
        size = x.shape[-2] if len(x.shape) > 1 else x.k
        if size % len(names):
            raise s.fail(f"a fused tensor of {size} rows cannot be cut into {len(names)} equal parts")
        return dict(zip(names, split(x, [size // len(names)] * len(names)), strict=True))

    return step


def pairs_turned(*heads: str) -> TensorRule:
    """Reorder the rows of each head from transformers' halves (first elements of all rotated pairs, then second) to
    interleaved pairs (Llama in GGUF). `heads` are the names of the setting with the number of heads.
    """

    def step(s: Settings, x: Stream) -> Stream:
        count, size = s.integer(*heads), x.shape[0]
        if not count or size % (2 * count):
            raise s.fail(f"a tensor of {size} rows cannot be divided into {count} heads of pairs")
        return take(x, np.arange(size).reshape(count, 2, -1).swapaxes(1, 2).reshape(-1))

    return step


def groups_apart(kv_heads: Callable[[Settings], int]) -> TensorRule:
    """Reorder the rows of a fused projection from groups, the queries of one key head, its key and its value, to all
    queries, all keys, all values.
    """

    def step(s: Settings, x: Stream) -> Stream:
        heads, groups = s.integer("num_attention_heads", "n_head"), kv_heads(s)
        size = x.shape[0] if len(x.shape) > 1 else x.k
        if not groups or heads % groups or size % (heads + 2 * groups):
            raise s.fail(f"a fused tensor of {size} rows cannot be divided into {heads} heads and {groups} key heads")
        parts = np.split(np.arange(size).reshape(groups, heads // groups + 2, -1), [heads // groups, -1], axis=1)
        return take(x, np.concatenate([part.reshape(-1) for part in parts]))

    return step


# ---- tensors made from settings --------------------------------------------------------------------------------------


def llama3_factors(s: Settings, *, half: bool = False) -> dict[str, Stream]:
    """`rope_freqs.weight` (head_dim / 2,): Llama 3.1's divisors of the rotary frequencies; empty for other rope types.

    Where only the first `half` of a head is rotated, ones follow. High frequencies stay, low ones are divided by
    `factor`, those between by a mean (transformers' rope type llama3).
    """
    if str(s.rope.get("rope_type", "")).lower() != "llama3":
        return {}
    numbers = {"rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    base, factor, low, high = (as_number(s, name, s.rope.get(name, other)) for name, other in numbers.items())
    original = as_number(s, "original_max_position_embeddings", s.rope.get("original_max_position_embeddings", 8192))
    if min(base, factor, low, high, original) <= 0 or low >= high:
        raise s.fail("rope_parameters are out of range")
    size = s.head_dim // 2 if half else s.head_dim
    powers = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    waves = 2 * np.pi * np.float32(base) ** powers
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        smooth = (original / waves - low) / (high - low)
        between = 1 / ((1 - smooth) / factor + smooth)
        factors = np.where(waves < original / high, 1.0, np.where(waves > original / low, factor, between))
        if not (np.isfinite(factors) & (factors.astype(np.float32) > 0)).all():
            raise s.fail("rope_parameters are out of range")
    return {"rope_freqs.weight": constant(np.concatenate([factors, np.ones(s.head_dim // 2 - len(factors))]))}


def proportional_factors(s: Settings, head_dim: int) -> dict[str, Stream]:
    """`rope_freqs.weight` (head_dim / 2,): divisors of the rope type proportional, which rotates the first pairs."""
    part, factor = (as_number(s, name, s.rope.get(name, 1.0)) for name in ("partial_rotary_factor", "factor"))
    rotated = min(max(int(part * head_dim / 2), 0), head_dim // 2)
    return {"rope_freqs.weight": constant([factor] * rotated + [NEVER] * (head_dim // 2 - rotated))}


def longrope_factors(s: Settings) -> dict[str, Stream]:
    """`rope_factors_short.weight` and `_long` (rotary_dim / 2,): longrope's divisors of the rotary frequencies."""
    out = {}
    for size in ("short", "long"):
        factors = s.rope.get(f"{size}_factor")
        if factors is None:
            continue
        if not isinstance(factors, list) or not factors:
            raise s.fail(f"{size}_factor must be a list of numbers")
        out[f"rope_factors_{size}.weight"] = constant([as_number(s, f"{size}_factor", factor) for factor in factors])
    return out
