"""Where weights are kept: what `--weights` decides, and from what memory on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from families import IDS
from families.converted import write_converted

from llmlocal.engine import Engine
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
    assert copies_weights(mode, {}, NEEDED, free) is copied


def test_a_copy_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_memory, "copied_bytes", lambda tensors: 1)
    with pytest.raises(ResourceError, match="a copy of the weights takes") as error:
        copies_weights("copy", {}, NEEDED, NEEDED - 1)
    assert "--weights map" in str(error.value.hint)


@pytest.mark.parametrize("case", ["gemma3n", "gemma4-shared-keys"])
def test_per_layer_embeddings_stay_in_the_file(case: str, tmp_path: Path) -> None:
    """A run reads a few rows of the table: it is not worth memory. Matrices that come in parts find room."""
    path, seen = write_converted(case, tmp_path), set()
    for copied in (False, True):
        engine = Engine.open(path, n_ctx=48, n_threads=1, copy_weights=copied)
        seen.add(engine.prefill(IDS[:20]).tobytes())
        if engine._copy:
            names = {original.name for original, _ in engine._copy.copies.values()}
            assert "per_layer_token_embd.weight" not in names
            assert {"per_layer_model_proj.weight", "blk.0.attn_q.weight"} <= names
            assert engine._copy._used <= len(engine._copy.memory)
        engine.close()
    assert len(seen) == 1


def test_an_unknown_mode_is_a_usage_error(said: Callable[..., tuple[int, str, str]], story: Path) -> None:
    code, out, err = said("run", story, "a", "--weights", "disk", "--no-stdin")
    assert (code, out) == (2, "") and "'disk'" in err and "copy" in err
