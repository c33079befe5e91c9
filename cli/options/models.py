"""Models and files: a name becomes a path before the command sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from ..model_argument import ModelName, model_or_question
from ..option_groups import parameter, positional

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
