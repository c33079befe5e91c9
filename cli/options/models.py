"""Models and files: a name becomes a path before the command sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..model_argument import ModelName, model_or_question
from ..option_groups import parameter

MODEL = "A model's name, hf:org/repo, or a GGUF file."
Model = Annotated[Path, typer.Argument(metavar="MODEL", parser=ModelName, help=MODEL, show_default=False)]
Models = Annotated[
    list[Path], typer.Argument(metavar="MODEL...", parser=ModelName, help="Names or GGUF files.", show_default=False)
]
WarmupModel = Annotated[
    Path | None,
    typer.Argument(metavar="MODEL", parser=ModelName, help=f"{MODEL} Default: all kernels.", show_default=False),
]
ModelOrQuestion = Annotated[
    Any,  # Path | Question | None: of a Path typer makes another one, and a question would become a path
    typer.Argument(
        metavar="MODEL",
        parser=model_or_question,
        help=f"{MODEL} Default: the built-in guide, which also answers a question given alone.",
        show_default=False,
    ),
]
RecordedModel = Annotated[
    Path | None,
    parameter(
        "--model MODEL", "Answer with this model. Default: the recorded one, from where it was.", parser=ModelName
    ),
]
File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        parser=ModelName,
        help="A GGUF file (of a split model: its first part), or a model's name.",
        show_default=False,
    ),
]
