"""A store with two revisions of a model, and another model."""

from __future__ import annotations

from collections.abc import Callable

from fake_hub import FakeHub
from gguf_bytes import STRING, entry
from hubs import KIB, REPO, model

Said = Callable[..., tuple[int, str, str]]
OLD, NEW = "0" * 40, "1" * 40


def filled(hub: FakeHub, said: Said) -> None:
    """An old revision with two files, one of which the new one changes, and a model without a quantization."""
    a, b, c = model(40 * KIB, seed=1), model(30 * KIB, seed=2), model(40 * KIB, seed=3)
    for commit, first in ((OLD, a), (NEW, c)):
        hub.add(REPO, {"tiny-Q8_0.gguf": first, "tiny-Q4_0.gguf": b}, commit=commit)
        assert said("pull", f"hf:{REPO}:Q8_0")[0] == 0
        assert said("pull", f"hf:{REPO}:Q4_0")[0] == 0
    hub.add("org/odd", {"odd.gguf": model(20 * KIB, arch="qwen3", more=[entry("general.name", STRING, "odd")])})
    assert said("pull", "hf:org/odd")[0] == 0
