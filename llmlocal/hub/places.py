"""Folders and settings: the shared Hugging Face cache, our cache and config, the hub's URL, offline mode.

Reads the environment at each call, by the rules of huggingface_hub but without importing it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from ..errors import UsageError
from ..quant.user_folders import expanded, user_folder

TRUE = {"1", "ON", "YES", "TRUE"}
CATALOG = "models.toml"
MOST_TOKEN = 10_000  # bytes of the token file that are read


def models() -> Path:
    """The Hugging Face cache, where downloads go and where llama.cpp and others look for them."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return expanded(named)
    if home := os.environ.get("HF_HOME"):
        return expanded(home) / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return expanded(cache) / "huggingface" / "hub"


def own_cache() -> Path:
    """llmlocal's cache folder: `LLMLOCAL_CACHE`, or a folder in the user's cache folder."""
    return Path(os.environ.get("LLMLOCAL_CACHE") or user_folder("cache"))


def user_catalog() -> Path:
    """The file with the user's entries and aliases."""
    return user_folder("config") / CATALOG


def catalog() -> Path:
    """The built-in catalog: at the top of a checkout, or among the data files of an installation.

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
    raise FileNotFoundError(f"{CATALOG} is missing: reinstall llmlocal")


def endpoint() -> str | None:
    """The hub's URL from HF_ENDPOINT, None for the default."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def token() -> str | None:
    """The token for the hub: HF_TOKEN, else the file that `hf auth login` wrote. None without one.

    Raises UsageError for one that cannot be sent.
    """
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in TRUE:
        return None
    text = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if not text:
        home = os.environ.get("HF_HOME") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "huggingface"
        )
        file = os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")
        with suppress(OSError), open(expanded(file), "rb") as data:
            text = data.read(MOST_TOKEN).decode("utf-8", "replace")
    text = (text or "").strip()
    if not text.isascii() or not text.isprintable():
        raise UsageError("the token for the hub has characters that a token cannot have", "set HF_TOKEN to a token")
    return text or None


def offline() -> bool:
    """Whether HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids the network."""
    return (os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or "").upper() in TRUE
