"""What proposes tokens beside the text, for a model and what was asked for: a draft, an assistant, or its own block."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import NotFoundError, UsageError
from ..gguf import GGUFFile
from ..model_info.predictor_memory import can_predict
from ..text import escaped


@dataclass(frozen=True, slots=True)
class Proposer:
    """One of these, or none: the file of a draft, an open file of an assistant, the block in the model's own file.

    `note`: why there is no draft.
    """

    draft: Path | None = None
    assistant: GGUFFile | None = None
    predicts: bool = False
    note: str = ""


def proposer(gguf: GGUFFile, speculate: str, draft: Path | str | None) -> Proposer:
    """The proposer for an open model, see `Session.open`.

    Raises UsageError where there is none of the kind that `speculate` demands, or the file is one for another model;
    NotFoundError, BadFileError.
    """
    if speculate == "draft" and draft is None:
        raise UsageError("speculate is draft, and there is no draft", "name one with --draft, or --draft auto")
    if draft is not None and speculate in ("auto", "draft", "mtp"):
        found = _named(gguf, speculate, draft)
        if speculate != "mtp" or found.assistant:
            return found
    elif speculate not in ("auto", "mtp"):
        return Proposer()
    predicts = can_predict(gguf.metadata, gguf.tensors)
    if speculate == "mtp" and not predicts:
        said = "has no block that predicts further tokens (MTP), or of a kind that is not run"
        raise UsageError(f"{escaped(str(gguf.path))}: {said}", "leave out --speculate mtp")
    return Proposer(predicts=predicts)


def _named(gguf: GGUFFile, speculate: str, draft: Path | str) -> Proposer:
    """The file of --draft, or one on this machine that it asks for."""
    from .assistant import open_assistant
    from .choice import AUTO, NONE_FOUND, smallest_draft

    path = smallest_draft(gguf, assistant=speculate == "mtp") if draft == AUTO else Path(draft)
    if path is None:
        if speculate == "draft":
            raise NotFoundError(NONE_FOUND, "name one with --draft")
        return Proposer(note=NONE_FOUND)
    if assistant := open_assistant(path, gguf):
        return Proposer(assistant=assistant)
    return Proposer(draft=path)
