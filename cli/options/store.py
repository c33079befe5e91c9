"""The models on this machine and on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..option_groups import OptionGroup, option, parameter
from .models import MODEL

Remotes = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Model names or hf:org/repo.", show_default=False)
]
Removed = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Models, named as llmlocal list shows them.", show_default=False)
]
Verified = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL...",
        help="Models, named as llmlocal list shows them, or GGUF files. Default: all models.",
        show_default=False,
    ),
]
Available = Annotated[bool, parameter("--available", "List the models that can be downloaded by name.")]
AliasName = Annotated[str, typer.Argument(metavar="NAME", help="The alias.", show_default=False)]
AliasTarget = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL, show_default=False)]


class RemoteFiles(OptionGroup):
    """Which files are downloaded, and where to."""

    quant: str | None = option(
        "--quant TYPE", "Quantization, such as Q4_K_M. Default: the best one that fits this machine well."
    )
    file: str | None = option("--file PATTERN", "File in the repository; * and ? match as in a shell.")
    revision: str | None = option("--revision REV", "Branch, tag or commit. Default: the repository's main branch.")
    to: Path | None = option("--to DIR", "Folder to download to. Default: the Hugging Face cache.")
    force: bool = option("--force", "Download again, even if the model is here.", default=False)
