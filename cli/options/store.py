"""The models on this machine and on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..option_groups import OptionGroup, option, parameter, positional
from .models import MODEL

Remotes = Annotated[list[str], positional("MODEL...", "Model names or hf:org/repo.")]
Removed = Annotated[list[str], positional("MODEL...", "Models, named as llmlocal list shows them.")]
Verified = Annotated[
    list[str] | None,
    positional("MODEL...", "Models, named as llmlocal list shows them, or GGUF files. Default: all models."),
]
Available = Annotated[bool, parameter("--available", "List the models that can be downloaded by name.")]
AliasName = Annotated[str, positional("NAME", "The alias.")]
AliasTarget = Annotated[str, positional("MODEL", MODEL)]


class RemoteFiles(OptionGroup):
    """Which files are downloaded, and where to."""

    quant: str | None = option(
        "--quant TYPE", "Quantization, such as Q4_K_M. Default: the best one that fits this machine well."
    )
    file: str | None = option("--file PATTERN", "File in the repository; * and ? match as in a shell.")
    revision: str | None = option("--revision REV", "Branch, tag or commit. Default: the repository's main branch.")
    to: Path | None = option("--to DIR", "Folder to download to. Default: the Hugging Face cache.")
    force: bool = option("--force", "Download again, even if the model is here.", default=False)
