"""The model on this machine that is chosen as the draft of another one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..errors import LlmlocalError
from ..gguf import GGUFFile, open_gguf
from ..hub.index import models_near
from ..model_info.work import work
from .assistant import check_assistant, check_proposer

SMALLER = 0.22  # of the bytes that the other model reads for a token: a fifth, and a little
MOST_FILES = 256  # that are looked at
AUTO = "auto"
NONE_FOUND = "no draft: no model of the same vocabulary with a fifth of the weights is on this machine"


def smallest_draft(target: GGUFFile, *, assistant: bool = False) -> Path | None:
    """The smallest file in the store, or in the folder of `target`, that can be its draft, and is much smaller.

    Its assistant counts as a draft; nothing else does with `assistant`.
    """
    most = SMALLER * work(target.tensors, target.metadata).nbytes
    for path in models_near(target.path)[:MOST_FILES]:
        with suppress(LlmlocalError, OSError), open_gguf(path) as gguf:
            (check_assistant if assistant else check_proposer)(gguf, target)
            if work(gguf.tensors, gguf.metadata).nbytes <= most:
                return path
    return None
