"""Help and completion."""

from __future__ import annotations

from typing import Annotated

import typer

from ..choices import ShellName
from ..option_groups import positional

Shell = Annotated[ShellName, positional("SHELL", "bash, zsh, fish or powershell (words is for the scripts).")]
Words = Annotated[list[str] | None, typer.Argument(hidden=True)]
HelpWords = Annotated[list[str] | None, positional("COMMAND...", "The command. Default: list all commands.")]
