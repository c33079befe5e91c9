"""Settings of config.json that a conversion did not obey: refused where the model would compute something else.

Every setting that `Settings` was not asked for ends here. Those of training and generation change nothing; what is
left and not known gets a note, so that no setting is passed over silently.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from .config import NESTED, Keys, Settings, as_integer, as_number
from .conversion import Conversion

ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function")
TANH_GELU = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")
# What the architectures compute where GGUF has no key: other values are refused unless the conversion reads them.
FIXED: Mapping[str, Any] = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "use_bidirectional_attention": False,
    "attn_logit_softcapping": 0,
    "swiglu_limit": 7.0,
    "position_embedding_type": "absolute",
    "altup_correct_scale": True,
}
# fmt: off
INERT = frozenset((
    # what the model is, and how it is loaded and trained
    "architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "auto_map", "use_cache", "id2label",
    "label2id", "problem_type", "finetuning_task", "tokenizer_class", "task_specific_params", "gradient_checkpointing",
    "is_decoder", "is_encoder_decoder", "return_dict", "torchscript", "pruned_heads", "chunk_size_feed_forward",
    "initializer_range", "initializer_factor", "pretraining_tp", "attn_implementation", "cache_implementation",
    "router_jitter_noise", "quantization_config", "reorder_and_upcast_attn", "embedding_initializer_range",
    "is_llama_config", "tie_weights_", "sinusoidal_pos_embds", "directionality",
    # what the tensors themselves say
    "vocab_size_per_layer_input", "laurel_rank", "altup_coef_clip", "qk_head_dim",
    "attention_bias", "mlp_bias", "qkv_bias", "use_qk_norm", "qk_layernorm", "decoder_sparse_step", "mlp_only_layers",
    "use_bias", "use_qkv_bias", "attention_out_bias", "bias",
    # other names of what is read, and settings that are checked here
    "experts_per_token", "initial_context_length", "no_rope_layer_interval", "max_window_layers", "use_sliding_window",
    "layer_types", "n_ctx", "model_max_length", "partial_rotary_factor", *ACTIVATIONS, *FIXED,
    # generation
    "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "num_return_sequences", "return_dict_in_generate", "prefix",
))
INERT_PATTERN = re.compile(
    r"^_|dropout|_pdrop$|_token_ids?$|_token_index$|_loss_coef$|^summary_|^output_|^transformers|^unsloth|_config$|^pooler_"
)
# fmt: on
MOST_NAMED = 6


def check_settings(s: Settings, conversion: Conversion, keys: Keys, extra: Collection[str]) -> None:
    """Raises BadFileError for settings that are not obeyed and change what is computed; adds notes on others to `s`.

    `keys` and `extra` (names of tensors) are what the conversion made of the settings.
    """
    _check_activation(s, conversion.activations)
    _check_rope(s, keys, extra)
    if s.rope.get("rope_type") == "yarn" and s.rope.get("truncate", True) is not conversion.whole_pairs:
        raise s.fail(
            f"truncate of RoPE scaling must be {str(conversion.whole_pairs).lower()} for this architecture", ""
        )
    _check_window(s)
    _check_layer_kinds(s)
    for name, value in FIXED.items():
        given = s.values.get(name)
        if name not in s.used and given is not None and given != value:
            raise s.fail(f"{name} is {given!r:.40}, and GGUF has no key for it", "")


def note_unused(s: Settings) -> None:
    """Add a note to `s` that names the settings nobody asked for; call it at the end of a conversion."""
    unused = [name for name, value in s.own.items() if value and name not in s.used and not _is_inert(name)]
    if unused:
        more = f" and {len(unused) - MOST_NAMED} more" if len(unused) > MOST_NAMED else ""
        s.note(f"settings of config.json that are not used: {', '.join(sorted(unused)[:MOST_NAMED])}{more}")


def _is_inert(name: str) -> bool:
    return name in INERT or name in NESTED or INERT_PATTERN.search(name) is not None


def _check_activation(s: Settings, known: Collection[str]) -> None:
    for name in ACTIVATIONS:
        value = s.values.get(name)
        if value is None or (isinstance(value, str) and value in known):
            continue
        if value != "gelu" or TANH_GELU[0] not in known:
            raise s.fail(f"{name} is {value!r:.40}, this architecture computes {next(iter(known))}", "")
        s.note(f"{name} gelu is computed by its tanh approximation, {TANH_GELU[0]}")


def _check_rope(s: Settings, keys: Keys, extra: Collection[str]) -> None:
    kind, written = s.rope.get("rope_type") or "default", keys.get("rope.scaling.type", "none")
    if kind == "dynamic":
        s.note("RoPE scaling dynamic is not stored: it acts only beyond the context length of the file")
        return
    obeyed = {
        "default": written == "none",
        "linear": written == "linear",
        "yarn": written == "yarn",
        "llama3": "rope_freqs.weight" in extra,
        "proportional": "rope_freqs.weight" in extra,
        "longrope": "rope_factors_long.weight" in extra,
        "su": "rope_factors_long.weight" in extra,
    }
    if not obeyed.get(str(kind), False):
        raise s.fail(f"RoPE scaling {kind!r:.40} is not supported for this architecture", "")
    for name in ("mscale", "mscale_all_dim"):
        if s.rope.get(name) and "rope.scaling.yarn_log_multiplier" not in keys:
            raise s.fail(f"{name} of RoPE scaling is not supported for this architecture", "")
    if kind == "proportional":
        return  # the divisors say which part of a head is rotated
    part, rotated = s.rope.get("partial_rotary_factor"), keys.get("rope.dimension_count")
    part = 1.0 if part is None else as_number(s, "partial_rotary_factor", part)
    if part != 1 and (not 0 <= part < 1 or rotated != int(s.head_dim * part)):
        raise s.fail(f"partial_rotary_factor {part!r:.40} is not supported for this architecture", "")


def _check_layer_kinds(s: Settings) -> None:
    """Kinds of layers in a list that the conversion did not read: all of them are computed as attention."""
    kinds = s.values.get("layer_types")
    if "layer_types" in s.used or not isinstance(kinds, list):
        return
    odd = next((kind for kind in kinds if kind not in ("full_attention", "sliding_attention")), None)
    if odd is not None:
        raise s.fail(f"layer_types has {odd!r:.40}, which this architecture does not have", "")


def _check_window(s: Settings) -> None:
    """A sliding window that the conversion did not read: harmless where no layer has one."""
    if "sliding_window" in s.used:
        return
    kinds, switch = s.values.get("layer_types"), s.values.get("use_sliding_window")
    if isinstance(kinds, list):
        slides = "sliding_attention" in kinds
    else:
        slides = switch is True and s.integer("max_window_layers", default=0) < s.integer("num_hidden_layers")
    window = as_integer(s, "sliding_window", s.values.get("sliding_window") or 0)
    if slides and 0 < window < s.integer("max_position_embeddings", default=1 << 31):
        raise s.fail(f"a sliding window of {window} tokens is not supported for this architecture", "")
    if slides or switch is not None:
        s.used.add("sliding_window")  # it changes nothing; elsewhere its class ignores it, which is worth a note
