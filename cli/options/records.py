"""Records of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..model_argument import ModelName

RecordFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A record that llmlocal run --record wrote.", show_default=False)
]
ReplayModel = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        parser=ModelName,
        help="Answer with this model. Default: the recorded one, from where it was.",
    ),
]
