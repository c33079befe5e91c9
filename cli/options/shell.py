"""Help and completion."""

from __future__ import annotations

from typing import Annotated

import typer

from ..choices import ShellName

Shell = Annotated[
    ShellName,
    typer.Argument(
        metavar="SHELL", help="bash, zsh, fish or powershell (words is for the scripts).", show_default=False
    ),
]
Words = Annotated[list[str] | None, typer.Argument(hidden=True)]
HelpWords = Annotated[
    list[str] | None,
    typer.Argument(metavar="COMMAND...", help="The command. Default: list all commands.", show_default=False),
]
