"""How a command asks, reads a pipe, and prints."""

from __future__ import annotations

from typing import Annotated

from ..option_groups import SETTING, OptionGroup, parameter

Json = Annotated[bool, parameter("--json", "Print one JSON object.")]
Quiet = Annotated[bool, parameter("-q --quiet", "Print nothing but errors on stderr."), SETTING]
Verbose = Annotated[bool, parameter("-v --verbose", "Print speed, stop reason and seed on stderr."), SETTING]
DryRun = Annotated[bool, parameter("--dry-run", "Dry run: print what would be done.")]
Confirmed = Annotated[bool, parameter("-y --yes", "Answer yes to all questions.")]
YesDownload = Annotated[bool, parameter("-y --yes", "Download even if memory or disk space seem too small.")]
NoNewline = Annotated[
    bool, parameter("--no-newline", "End the output as the model does; otherwise it ends with a line feed.")
]
NoStdin = Annotated[bool, parameter("--no-stdin", "Never read stdin.")]
ForceOut = Annotated[bool, parameter("--force", "Overwrite the output file if it exists.")]


class Report(OptionGroup):
    """How the result is reported."""

    as_json: Json = False
    quiet: Quiet = False
