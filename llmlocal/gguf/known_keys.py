"""Types of the keys that GGUF defines, so that a value that is set by hand gets the type that readers expect.

Only keys whose text does not tell their type are here: names that may be digits, numbers that may be written without a
point, switches. A test compares them with the `gguf` package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from ..text import shown
from .values import ValueType

ARCHITECTURE = "general.architecture"
_TEXTS = (
    r"architecture|author|basename|description|doi|finetune|license|license\.link|license\.name|name|organization|"
    r"quantized_by|repo_url|sampling\.sequence|size_label|type|url|uuid|version"
)
_FLOATS = (
    r"(?:attention|rope|expert_weights|expert_group)[.\w]*(?:_?scale|factor|_epsilon|_base|_base_swa|alpha)|"
    r"rope\.scaling\.yarn_\w+|attention\.(?:clamp_kqv|max_alibi_bias)|\w+_softcapping|"
    r"(?:embedding|logit|residual)_scale"
)
_SWITCHES = (
    r"attention\.causal|rope\.scaling\.finetuned|ssm\.dt_b_c_rms|swin_norm|use_parallel_residual|expert_weights_norm"
)
_FAMILY = r"(?!general\.|tokenizer\.|clip\.)[^.]+\."  # keys of an architecture begin with its name
_KNOWN = (
    (rf"general\.(?:(?:base_model|dataset)\.\d+\.|source\.)?(?:{_TEXTS})", ValueType.STRING),
    (r"general\.(?:alignment|quantization_version|file_type|(?:base_model|dataset)\.count)", ValueType.U32),
    (r"general\.sampling\.(?:top_k|mirostat|penalty_last_n)", ValueType.I32),
    (r"general\.sampling\.\w+", ValueType.F32),
    (r"tokenizer\.ggml\.(?:model|pre)|tokenizer\.chat_template(?:\.\w+)?", ValueType.STRING),
    (r"tokenizer\.ggml\.(?:\w+_token_id|token_type_count)", ValueType.U32),
    (r"tokenizer\.ggml\.(?:add_\w+|remove_extra_whitespaces)", ValueType.BOOL),
    (rf"{_FAMILY}(?:{_FLOATS})", ValueType.F32),
    (rf"{_FAMILY}(?:{_SWITCHES})", ValueType.BOOL),
    (rf"{_FAMILY}(?:tensor_data_layout|rope\.scaling\.type)", ValueType.STRING),
    (rf"{_FAMILY}(?:\w+\.)*(?:\w+_)?(?:count|count_kv|length|rank|vocab_size)", ValueType.U32),
)


def known_type(key: str) -> ValueType | None:
    """The type of a key that GGUF defines, None for others."""
    return next((kind for pattern, kind in _KNOWN if re.fullmatch(pattern, key)), None)


def alike(one: ValueType, other: ValueType) -> bool:
    """Whether both are integers, both floats, or the same."""
    return one is other or _sort(one) == _sort(other)


def _sort(kind: ValueType) -> str:
    return kind.label.rstrip("0123456789").replace("u", "i") if kind.label[1:].isdigit() else kind.label


def check_architecture(metadata: Mapping[str, Any], architecture: str) -> None:
    """Raises UsageError where no key belongs to an architecture: a file with its name would have no sizes."""
    if not any(key.startswith(f"{architecture}.") for key in metadata):
        raise UsageError(
            f"no key of the file is of the architecture {shown(architecture)}, so the result could not run",
            f"set its keys first, such as {architecture}.block_count",
        )
