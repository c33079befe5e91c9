"""The text model in a folder of a model for images or sound whose own class is not converted."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from .config import Settings, text_config
from .streams import Stream

WRAPPERS = ("ForConditionalGeneration", "ForCausalLM", "ForVisionText2Text", "ChatModel")
BIDIRECTIONAL_PROMPT = ("PaliGemma",)  # beginnings of classes whose prompt attends in both directions
INSIDE = re.compile(r"(^|\.)(?:language_model|text_model|llm)\.")
OUTPUT = re.compile(r"^lm_head\.")
# transformers' sizes of kinds of text models, which configs of models around them leave out.
SIZES: Mapping[str, Mapping[str, Any]] = {
    "llama": {"intermediate_size": 11008, "max_position_embeddings": 2048, "vocab_size": 32000},
    "mistral": {
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "vocab_size": 32000,
    },
    "qwen2": {"intermediate_size": 22016, "max_position_embeddings": 32768, "vocab_size": 151936},
}
SHARED_SIZES = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "rms_norm_eps": 1e-6}


def text_class(config: Mapping[str, Any], known: Collection[str]) -> str | None:
    """The class of the text model inside, one of `known`, by config.json; None where there is none.

    Its own config names the class, or only the kind (`model_type`), of which the class for next tokens is taken.
    """
    names = config.get("architectures")
    outer = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    own = text_config(config)
    if not own or not outer.endswith(WRAPPERS) or outer.startswith(BIDIRECTIONAL_PROMPT):
        return None
    named = own.get("architectures")
    if isinstance(named, list) and named and named[0] in known:
        return str(named[0])
    wanted = _plain(str(own.get("model_type", "")).removesuffix("_text") + "ForCausalLM")
    return next((name for name in known if _plain(name) == wanted), None)


def text_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the text model inside that config.json may leave out."""
    sizes = SIZES.get(str(text_config(config).get("model_type")))
    return {**SHARED_SIZES, **sizes} if sizes else {}


def text_tensors(s: Settings, tensors: Mapping[str, Stream]) -> dict[str, Stream]:
    """The tensors of the text model inside, under the names that it has by itself.

    All of them, where none is named as part of another model. Where nothing is said of tied embeddings for the whole,
    they are tied in `s` if there is no output matrix: the text model's own config is not obeyed.
    """
    if not isinstance(s.outer.get("tie_word_embeddings"), bool):
        s.values["tie_word_embeddings"] = not any("lm_head." in name for name in tensors)
    if not any(INSIDE.search(name) for name in tensors):
        return dict(tensors)
    kept = {name: x for name, x in tensors.items() if INSIDE.search(name) or OUTPUT.search(name)}
    return {INSIDE.sub(r"\1", name, count=1): x for name, x in kept.items()}


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
