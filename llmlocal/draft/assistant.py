"""Assistants: files that predict further tokens for one model, by what that model has made of the text."""

from __future__ import annotations

from pathlib import Path

from .. import models
from ..errors import UsageError
from ..gguf import GGUFFile
from ..gguf.model_file import open_model
from ..model_info.arch_value import arch_value
from ..text import escaped
from .draft_model import check_draft
from .vocabulary import difference

HINT = "the assistant of a model is published beside it"


def open_assistant(path: Path | str, target: GGUFFile) -> GGUFFile | None:
    """Open the file of an assistant of `target`; None for that of another model, which may be a draft.

    Raises NotFoundError, BadFileError, UsageError for an assistant of another model.
    """
    gguf = open_model(path)
    try:
        if models.assists(gguf.metadata):
            check_assistant(gguf, target)
            return gguf
    except BaseException:
        gguf.close()
        raise
    gguf.close()
    return None


def check_proposer(gguf: GGUFFile, target: GGUFFile) -> None:
    """Raises UsageError where a file can be neither the assistant nor a draft of `target`, BadFileError."""
    (check_assistant if models.assists(gguf.metadata) else check_draft)(gguf, target)


def check_assistant(gguf: GGUFFile, target: GGUFFile) -> None:
    """Raises UsageError where `gguf` is not an assistant of `target`."""
    name, of = escaped(str(gguf.path)), escaped(target.path.name)
    arch = str(gguf.metadata.get("general.architecture"))
    family = arch.removesuffix("-assistant")
    if target.metadata.get("general.architecture") != family:
        raise UsageError(f"{name}: cannot be an assistant of {of}, which is no {family}", HINT)
    wanted, width = arch_value(gguf.metadata, "embedding_length_out"), arch_value(target.metadata, "embedding_length")
    if wanted != width:
        raise UsageError(f"{name}: assists a model of width {wanted}, and {of} has {width}", HINT)
    if found := difference(gguf.metadata, target.metadata):
        raise UsageError(f"{name}: cannot be an assistant of {of}: {found}", HINT)
