"""Where weights are kept: what `--weights` decides, and from what memory on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmlocal.errors import ResourceError
from llmlocal.model_info import weight_memory
from llmlocal.model_info.weight_memory import COMFORT, WORTHWHILE, copies_weights

NEEDED = 1 << 30


@pytest.mark.parametrize(
    ("mode", "nbytes", "free", "copied"),
    [
        ("map", NEEDED, 1 << 40, False),
        ("auto", WORTHWHILE - 1, 1 << 40, False),
        ("auto", WORTHWHILE, int(COMFORT * NEEDED), True),
        ("auto", WORTHWHILE, int(COMFORT * NEEDED) - 1, False),
        ("copy", 1, NEEDED, True),
        ("copy", 0, NEEDED, False),
    ],
)
def test_weights_are_copied(monkeypatch: pytest.MonkeyPatch, mode: str, nbytes: int, free: int, copied: bool) -> None:
    monkeypatch.setattr(weight_memory, "copied_bytes", lambda tensors: nbytes)
    monkeypatch.setattr(weight_memory, "memory", lambda *_: SimpleNamespace(total=NEEDED))
    nothing: Any = {}
    assert copies_weights(mode, nothing, nothing, 64, free=free) is copied


def test_a_copy_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_memory, "copied_bytes", lambda tensors: 1)
    monkeypatch.setattr(weight_memory, "memory", lambda *_: SimpleNamespace(total=NEEDED))
    with pytest.raises(ResourceError, match="a copy of the weights takes") as error:
        copies_weights("copy", {}, {}, 64, free=NEEDED - 1)
    assert "--weights map" in str(error.value.hint)


def test_an_unknown_mode_is_a_usage_error(said: Callable[..., tuple[int, str, str]], story: Path) -> None:
    code, out, err = said("run", story, "a", "--weights", "disk", "--no-stdin")
    assert (code, out) == (2, "") and "'disk'" in err and "copy" in err
