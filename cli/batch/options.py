"""Batches: where rows come from, how they become prompts, who answers them, and where results go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..choices import RowLayout
from ..option_groups import OptionGroup, option, parameter, positional
from ..options.prompts import System, Template

RowFile = Annotated[Path, positional("FILE", "The rows: JSON lines, CSV with a header, or lines of text; - is stdin.")]


class RowOptions(OptionGroup):
    """How rows become prompts."""

    input_format: RowLayout = option(
        "--input-format",
        "jsonl: objects with prompt or messages, or strings; csv: the first line names the fields; text: a prompt "
        "a line; auto: by the file's ending, otherwise jsonl.",
        default=RowLayout.auto,
    )
    prompt_template: str | None = option(
        "--prompt-template TEXT", "The prompt, with {name} in the place of a row's field. Default: the field prompt."
    )
    system: System = None
    template: Template = None


class BatchOutput(OptionGroup):
    """Where results go, and when to stop."""

    output: Path | None = option("-o --output FILE", "Append results to this file, line by line. Default: stdout.")
    resume: bool = option("--resume", "Go on with the file of -o after the last row that has a result.", default=False)
    force: bool = option("--force", "Overwrite the file of -o if it exists.", default=False)
    max_errors: int | None = option("--max-errors N", "Stop once more than N rows have failed. Default: never.", min=0)


RowsAtOnce = Annotated[int, parameter("--parallel N", "Rows answered at once.", min=1, max=256)]

RayAddress = Annotated[
    str | None,
    parameter(
        "--ray ADDRESS",
        "Answer the rows on all nodes of the Ray cluster at this address (host:6379, or auto for the one of this "
        "machine); the model has to be on each of them. Default: on this machine alone.",
    ),
]
