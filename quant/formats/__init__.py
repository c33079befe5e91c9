"""One file = one block format, registered in `format.BY_ID` and `format.BY_NAME` by being imported."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules


def load_all() -> None:
    """Import every file of this folder, so that the registries are complete."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
