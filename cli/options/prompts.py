"""What a model is asked, and where its answer goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ..option_groups import option


def text_or_stdin(metavar: str, what: str) -> Any:
    """An argument that is a text, and may come from stdin."""
    added = "- reads it from stdin. Text piped to stdin is added after it. Default: stdin."
    return typer.Argument(metavar=metavar, help=f"{what}; {added}", show_default=False)


Prompt = Annotated[str | None, text_or_stdin("PROMPT", "The prompt")]
System = Annotated[
    str | None,
    typer.Option(
        "-s", "--system", metavar="TEXT", help="System prompt. Default: none, unless the chat template has one."
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        "--template", metavar="NAME|FILE", help="Chat template: a built-in name or a Jinja file. Default: the model's."
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write to this file once complete. Default: stdout."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file of -o if it exists.")]
PromptCache = Annotated[
    str,
    typer.Option(
        "--prompt-cache",
        metavar="auto|off|FILE",
        help="Keep processed prompts on disk, so that the same beginning is not processed again.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions:
    """How a prompt is made."""

    file: list[Path] | None = option(
        "-f", "--file", metavar="FILE", help="Put this text file before the prompt; may be repeated."
    )
    system: System = None
    raw: bool = option(
        "--raw", help="Text completion: send the prompt as it is, without a chat template.", default=False
    )
    template: Template = None
    show_only: bool = option(
        "--show-prompt", help="Print the formatted prompt and its token ids, and do not run the model.", default=False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFile:
    """Where an answer goes."""

    output: OutputFile = None
    force: Force = False
