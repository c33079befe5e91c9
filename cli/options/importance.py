"""Importance matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..model_argument import ModelName
from ..option_groups import OptionGroup, option, positional

MatrixModel = Annotated[
    Path,
    positional(
        "MODEL", "A model's name or GGUF file; with --stats and no TEXT_FILE, an importance matrix.", parser=ModelName
    ),
]
MaybeTextFile = Annotated[Path | None, positional("TEXT_FILE", "Calibration text; - reads stdin.")]


class MatrixOptions(OptionGroup):
    """Where a matrix goes, and what it covers."""

    output: Path | None = option("-o --output FILE", "Output file. Default: MODEL.imatrix.gguf in the current folder.")
    resume: bool = option("--resume", "Continue an existing output file, or add another text to it.", default=False)
    with_output: bool = option("--with-output", "Measure the output tensor, too.", default=False)
    stats: bool = option("--stats", "Print statistics of each tensor.", default=False)
