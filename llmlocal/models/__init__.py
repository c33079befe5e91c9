"""Model architectures: one file each, named after GGUF's `general.architecture` with `_` for `-`.

Each file defines `build(layers, config, weights, vocab) -> logits`, which records the forward pass, and `CONVERSION`,
which says how to convert a Hugging Face folder. A file is found by its name: there is no list to edit. The room does
not depend on kernels or threads.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from ..errors import BadFileError


def names() -> list[str]:
    """Names of the supported architectures, as in `general.architecture`."""
    return sorted(m.name.replace("_", "-") for m in iter_modules(__path__))


def find(arch: object, path: str) -> ModuleType:
    """The module of an architecture. Raises BadFileError if `arch` is missing or not supported."""
    if not isinstance(arch, str) or arch not in names():
        problem = f"architecture {arch!r:.60} is not supported" if arch else "no architecture in its metadata"
        raise BadFileError(f"{path}: {problem}", f"supported architectures: {', '.join(names())}")
    return import_module(f"{__name__}.{arch.replace('-', '_')}")
