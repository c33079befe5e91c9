"""Models, whose names become paths before a command sees them, and those of the store and the hub, which stay names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from ..model_argument import ModelName, model_or_question
from ..option_groups import OptionGroup, option, parameter, positional

MODEL = "A model's name, hf:org/repo, or a GGUF file."
Model = Annotated[Path, positional("MODEL", MODEL, parser=ModelName)]
Models = Annotated[list[Path], positional("MODEL...", "Names or GGUF files.", parser=ModelName)]
WarmupModel = Annotated[Path | None, positional("MODEL", f"{MODEL} Default: all kernels.", parser=ModelName)]
ModelOrQuestion = Annotated[
    Any,  # Path | Question | None: of a Path typer makes another one, and a question would become a path
    positional(
        "MODEL",
        f"{MODEL} Default: the built-in guide, which also answers a question given alone.",
        parser=model_or_question,
    ),
]
RecordedModel = Annotated[
    Path | None,
    parameter(
        "--model MODEL", "Answer with this model. Default: the recorded one, from where it was.", parser=ModelName
    ),
]
File = Annotated[
    Path, positional("FILE", "A GGUF file (of a split model: its first part), or a model's name.", parser=ModelName)
]

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
