"""Where things lie: the hub's cache that all tools share, our own config and cache, the hub's address and its mood.

Reads the environment each time it is asked, by the rules of the hub's own client, and without importing it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

TRUE = {"1", "ON", "YES", "TRUE"}
CATALOG = "models.toml"


def models() -> Path:
    """The Hugging Face cache, where downloads go and where llama.cpp and others look for them."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return _expanded(named)
    if home := os.environ.get("HF_HOME"):
        return _expanded(home) / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return _expanded(cache) / "huggingface" / "hub"


def own_cache() -> Path:
    """Our folder for what can be made again: `LLMLOCAL_CACHE`, or the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("LLMLOCAL_CACHE") or user_cache_path("llmlocal"))


def user_catalog() -> Path:
    """The user's own entries and aliases."""
    from platformdirs import user_config_path

    return user_config_path("llmlocal") / CATALOG


def catalog() -> Path:
    """The catalog that comes with the program: in a checkout at the top, installed where its data files went.

    Raises FileNotFoundError where the installation is broken.
    """
    top, shared = Path(__file__).parents[2], Path("share", "llmlocal", CATALOG)
    if (top / "pyproject.toml").is_file() and (top / CATALOG).is_file():
        return top / CATALOG
    for folder in (Path(sys.prefix), top):  # an environment; a folder that was filled by `pip install --target`
        if (folder / shared).is_file():
            return folder / shared
    from importlib.metadata import files

    for file in files("llmlocal") or ():
        if file.parts[-2:] == ("llmlocal", CATALOG) and (found := Path(str(file.locate()))).is_file():
            return found
    raise FileNotFoundError(f"{CATALOG} is missing: install llmlocal again")


def endpoint() -> str | None:
    """The hub's address where the user named another one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def offline() -> bool:
    """Whether the network must not be used."""
    return (os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or "").upper() in TRUE


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(path)))
