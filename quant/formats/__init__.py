"""One file = one block format, registered in `format.BY_ID` and `format.BY_NAME` by being imported.

A file has its format's name; formats that are only stored share one.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules


def load_all() -> None:
    """Import every file of this folder, so that the registries are complete."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


def load_named(name: str) -> None:
    """Import the file of the format `name`, such as Q4_K, if there is one."""
    if find_spec(found := f"{__name__}.{name.lower()}"):
        import_module(found)
