"""Importance matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..model_argument import ModelName

MatrixModel = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        parser=ModelName,
        help="A model's name or GGUF file; with --stats and no TEXT_FILE, an importance matrix.",
        show_default=False,
    ),
]
MaybeTextFile = Annotated[
    Path | None,
    typer.Argument(metavar="TEXT_FILE", help="Calibration text; - reads stdin.", show_default=False),
]
MatrixFile = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Output file. Default: MODEL.imatrix.gguf in the current folder."
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an existing output file, or add another text to it.")]
WithOutput = Annotated[bool, typer.Option("--with-output", help="Measure the output tensor, too.")]
MatrixStats = Annotated[bool, typer.Option("--stats", help="Print statistics of each tensor.")]
