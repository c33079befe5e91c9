"""Importance matrices."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixOptions:
    """Where a matrix goes, and what it covers."""

    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Output file. Default: MODEL.imatrix.gguf in the current folder."
        ),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an existing output file, or add another text to it.")
    ] = False
    with_output: Annotated[bool, typer.Option("--with-output", help="Measure the output tensor, too.")] = False
    stats: Annotated[bool, typer.Option("--stats", help="Print statistics of each tensor.")] = False
