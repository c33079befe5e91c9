"""Model architectures: one file each, named after GGUF's `general.architecture` with `_` for `-` and `__` for `_`.

Each file defines `build(layers, config, weights, vocab)`, which records the forward pass, and `CONVERSION`, which says
how to convert a Hugging Face folder. `build` gives logits (outputs, vocab), or, if `KIND = ENCODER`, the states
(tokens, width) of whole texts. If `KIND = ENCODER_DECODER`, it records a decoder with cross attention to the states
(tokens, width) that `encode(layers, config, weights, vocab)` gives. An encoder may also define
`classifier(layers, config, weights, pooled) -> scores` and `word_logits(layers, config, weights, vocab, states) ->
logits` of masked words; `RANK_POOLING` says which states the classifier reads, and
`projection(layers, config, weights, pooled)` makes the vectors. A file is found by its name: there is no list to edit.
The room does not depend on kernels or threads.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from ..errors import BadFileError

DECODER, ENCODER, ENCODER_DECODER = "decoder", "encoder", "encoder-decoder"  # kinds of architectures


@cache
def names() -> tuple[str, ...]:
    """Names of the supported architectures, as in `general.architecture`, sorted."""
    return tuple(sorted(m.name.replace("_", "-").replace("--", "_") for m in iter_modules(__path__)))


def find(arch: object, path: str) -> ModuleType:
    """The module of an architecture. Raises BadFileError if `arch` is missing or not supported."""
    if not isinstance(arch, str) or arch not in names():
        problem = f"architecture {arch!r:.60} is not supported" if arch else "no architecture in its metadata"
        raise BadFileError(f"{path}: {problem}", f"supported architectures: {', '.join(names())}")
    return import_module(f"{__name__}.{arch.replace('_', '__').replace('-', '_')}")


def kind(model: ModuleType) -> str:
    """What a module builds: DECODER, which predicts the next token; ENCODER, which reads texts; ENCODER_DECODER."""
    found: str = getattr(model, "KIND", DECODER)
    return found
