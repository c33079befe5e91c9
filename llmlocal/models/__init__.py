"""Model architectures: one file each, named after GGUF's `general.architecture` with `_` for `-` and `__` for `_`.

Each file defines `build(layers, config, weights, vocab)`, which records the forward pass, and `CONVERSION`, which says
how to convert a Hugging Face folder. `build` gives logits (outputs, vocab), or, if `KIND = ENCODER`, the states
(tokens, width) of whole texts. If `KIND = ENCODER_DECODER`, it records a decoder with cross attention to the states
(tokens, width) that `encode(layers, config, weights, vocab)` gives. An encoder may also define
`classifier(layers, config, weights, pooled) -> scores` and `word_logits(layers, config, weights, vocab, states) ->
logits` of masked words; `RANK_POOLING` says which states the classifier reads, and
`projection(layers, config, weights, pooled)` makes the vectors. Where blocks have a sliding window, `PERIOD` says of
how many blocks the last has full attention (0: none has), `WINDOW` the size in files that do not say it.
`predict(layers, config, weights, vocab)`, where there is one, records the block that predicts a further token (MTP)
into layers of its own, as a `layers.decoder.Head`; `build` then ends with `last_logits`. If `KIND = ASSISTANT`, the
file has no `build`: `assist(layers, config, weights, vocab, embedding, keys)` records a model that predicts further
tokens for another one, with the token embedding of that model and what its `build` leaves in `layers.last_keys`. A file
is found by its name: there is no list to edit. The room does not depend on kernels or threads.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from ..errors import BadFileError, UsageError

RANK = 4  # GGUF's pooling type of models that score texts
DECODER, ENCODER, ENCODER_DECODER = "decoder", "encoder", "encoder-decoder"  # kinds of architectures
ASSISTANT = "assistant"
STATED = re.compile(r"^[A-Z]\w*(?:, [A-Z]\w*)* = -?\d.*$", re.MULTILINE)  # names that are given a number
PREDICTS = re.compile(r"^def predict\(|^from \.\w+ import .*\bpredict\b", re.MULTILINE)
ASSISTS = re.compile(r"^KIND = ASSISTANT$", re.MULTILINE)


@cache
def names() -> tuple[str, ...]:
    """Names of the supported architectures, as in `general.architecture`, sorted."""
    return tuple(sorted(m.name.replace("_", "-").replace("--", "_") for m in iter_modules(__path__)))


def find(arch: object, path: str) -> ModuleType:
    """The module of an architecture. Raises BadFileError if `arch` is missing or not supported."""
    if not isinstance(arch, str) or arch not in names():
        problem = f"architecture {arch!r:.60} is not supported" if arch else "no architecture in its metadata"
        raise BadFileError(f"{path}: {problem}", f"supported architectures: {', '.join(names())}")
    return import_module(_module(arch))


def _module(arch: str) -> str:
    return f"{__name__}.{arch.replace('_', '__').replace('-', '_')}"


@cache
def numbers(arch: str) -> dict[str, int]:
    """The integers that the file of an architecture states at its top, such as PERIOD; none for an unknown one.

    They are read from its source: importing it would take NumPy.
    """
    found: dict[str, int] = {}
    for node in ast.parse("\n".join(STATED.findall(_source(arch)))).body:  # of a whole file it would take 10 ms
        if isinstance(node, ast.Assign):
            pairs = [(node.targets[0], node.value)]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(node.targets[0].elts, node.value.elts, strict=True))
            for name, value in pairs:
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant) and type(value.value) is int:
                    found[name.id] = value.value
    return found


def predicts(arch: str) -> bool:
    """Whether the file of an architecture has `predict`, its own or that of another one; it is not imported."""
    return PREDICTS.search(_source(arch)) is not None


def assists(metadata: Mapping[str, Any]) -> bool:
    """Whether a file is an assistant, which predicts further tokens for another model; nothing is imported for it."""
    return ASSISTS.search(_source(str(metadata.get("general.architecture")))) is not None


@cache
def _source(arch: str) -> str:
    """The text of the file of an architecture, empty for an unknown one."""
    spec = find_spec(_module(arch)) if arch in names() else None
    loader: Any = spec and spec.loader
    return loader.get_source(_module(arch)) or "" if hasattr(loader, "get_source") else ""


def ranks(metadata: Mapping[str, Any]) -> bool:
    """Whether the model of a file scores texts, even if its architecture predicts next tokens: GGUF's pooling rank."""
    return bool(metadata.get(f"{metadata.get('general.architecture')}.pooling_type") == RANK)


def kind(model: ModuleType) -> str:
    """What a module builds: DECODER, which predicts the next token; ENCODER, which reads texts; ENCODER_DECODER; or
    ASSISTANT, which predicts further tokens for another model."""
    found: str = getattr(model, "KIND", DECODER)
    return found


def refuse_assistant(model: ModuleType, path: str) -> None:
    """Raises UsageError where the module `model` of a file records no model that works by itself."""
    if kind(model) == ASSISTANT:
        raise UsageError(f"{path}: is an assistant, which proposes tokens for another model", "give it to --draft")


def that_predicts(metadata: Mapping[str, Any], path: str) -> ModuleType:
    """The module of a file's architecture. Raises as `find`, and UsageError for a model without next tokens."""
    arch = metadata.get("general.architecture")
    model = find(arch, path)
    if kind(model) == ENCODER:
        raise UsageError(f"{path}: {arch} is an encoder, it predicts no next token", "use llmlocal embed")
    refuse_assistant(model, path)
    if ranks(metadata):
        raise UsageError(f"{path} scores texts, it predicts no next token", "use llmlocal rerank")
    return model
