"""One file = one architecture, named as GGUF's `general.architecture` names it, with `_` for `-`.

Such a file has `build(layers, config, weights, vocab) -> logits`. The file's name is the registry: no list is edited.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from ..errors import BadFileError


def names() -> list[str]:
    """Architectures that run."""
    return sorted(m.name.replace("_", "-") for m in iter_modules(__path__))


def find(arch: object, path: str) -> ModuleType:
    """The module of an architecture. Raises BadFileError for one that is not there."""
    if not isinstance(arch, str) or arch not in names():
        said = f"architecture {arch!r:.60} is not supported" if arch else "no architecture in its metadata"
        raise BadFileError(f"{path}: {said}", f"what runs: {', '.join(names())}")
    return import_module(f"{__name__}.{arch.replace('-', '_')}")
