"""Changes of GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..model_argument import ModelName
from ..option_groups import parameter, positional

SetKey = Annotated[str, positional("KEY", "The metadata key, such as general.name.")]
SetValue = Annotated[str | None, positional("VALUE", "The new value; @FILE reads it from a text file.")]
ValueKind = Annotated[
    str | None,
    parameter("--type TYPE", "Type of VALUE: u32, i32, u64, i64, f32, f64, bool, string, ... Default: the key's own."),
]
Remove = Annotated[bool, parameter("--remove", "Remove the key.")]
InPlace = Annotated[bool, parameter("--in-place", "Replace FILE itself, once the changed copy is complete.")]
OutFile = Annotated[Path | None, parameter("-o --output OUT", "The file to write.")]
SplitOut = Annotated[
    Path | None, parameter("-o --output NAME", "Write NAME-00001-of-0000N.gguf and so on. Default: FILE's own name.")
]
OldTemplate = Annotated[str, positional("OLD", "The template's name.")]
NewTemplate = Annotated[str, positional("NEW", "The new name.")]
PartSize = Annotated[str, positional("SIZE", "Maximum size of a file's tensors, such as 2G.")]
MergedFile = Annotated[
    Path | None, parameter("-o --output OUT", "The file to write. Default: FILE's own name without -00001-of-0000N.")
]
HashedFiles = Annotated[list[Path], positional("FILE...", "GGUF files, or models' names.", parser=ModelName)]
OtherFile = Annotated[Path, positional("OTHER", "The GGUF file to compare with.")]
