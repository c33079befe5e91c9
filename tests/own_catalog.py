"""The user's catalog with an entry for the model of the hub on loopback."""

from __future__ import annotations

from hubs import REPO

from llmlocal.hub import places


def own(text: str) -> None:
    """Write the user's catalog."""
    path = places.user_catalog()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


ENTRY = f"""
# mine
[models.tiny]
repo = "{REPO}"
file = "tiny-{{quant}}.gguf"
context = 2048
aliases = ["wee"]
sampling = {{ temp = 0.5 }}
unchecked = true
"""
