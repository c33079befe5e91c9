"""Changes of GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..model_argument import ModelName
from ..option_groups import parameter

SetKey = Annotated[
    str, typer.Argument(metavar="KEY", help="The metadata key, such as general.name.", show_default=False)
]
SetValue = Annotated[
    str | None,
    typer.Argument(metavar="VALUE", help="The new value; @FILE reads it from a text file.", show_default=False),
]
ValueKind = Annotated[
    str | None,
    parameter("--type TYPE", "Type of VALUE: u32, i32, u64, i64, f32, f64, bool, string, ... Default: as it was."),
]
Remove = Annotated[bool, parameter("--remove", "Remove the key.")]
InPlace = Annotated[bool, parameter("--in-place", "Replace FILE itself, once the changed copy is complete.")]
OutFile = Annotated[Path | None, parameter("-o --output OUT", "The file to write.")]
SplitOut = Annotated[
    Path | None, parameter("-o --output NAME", "Write NAME-00001-of-0000N.gguf and so on. Default: FILE's own name.")
]
OldTemplate = Annotated[str, typer.Argument(metavar="OLD", help="The template's name.", show_default=False)]
NewTemplate = Annotated[str, typer.Argument(metavar="NEW", help="The new name.", show_default=False)]
PartSize = Annotated[
    str, typer.Argument(metavar="SIZE", help="Maximum size of a file's tensors, such as 2G.", show_default=False)
]
MergedFile = Annotated[
    Path | None, parameter("-o --output OUT", "The file to write. Default: FILE's own name without -00001-of-0000N.")
]
HashedFiles = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", parser=ModelName, help="GGUF files, or models' names.", show_default=False),
]
OtherFile = Annotated[Path, typer.Argument(metavar="OTHER", help="The GGUF file to compare with.", show_default=False)]
