"""What a file and a text consist of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

Key = Annotated[
    str | None,
    typer.Argument(metavar="KEY", help="Print the whole value of this metadata key.", show_default=False),
]
Text = Annotated[
    str | None,
    typer.Argument(
        metavar="TEXT",
        help="The text; - reads it from stdin. Text piped to stdin is added after it. Default: stdin.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsShown:
    """Which part of a file is shown."""

    kv: Annotated[bool, typer.Option("--kv", help="List the metadata; with KEY, print its whole value.")] = False
    tensors: Annotated[bool, typer.Option("--tensors", help="List the tensors: name, format, shape, size.")] = False
    template: Annotated[bool, typer.Option("--template", help="Print the chat template.")] = False
    fit: Annotated[
        bool,
        typer.Option(
            "--fit", help="Check whether the model fits this machine, at which context size, and how fast it can be."
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensShown:
    """What is shown of tokens."""

    ids: Annotated[bool, typer.Option("--ids", help="Print only the token ids, on one line.")] = False
    pieces: Annotated[bool, typer.Option("--pieces", help="Print only the text of each token, one per line.")] = False
    count: Annotated[bool, typer.Option("--count", help="Print only the number of tokens.")] = False
    no_special: Annotated[
        bool,
        typer.Option("--no-special", help="Add no BOS or EOS token, and read special tokens in TEXT as plain text."),
    ] = False
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode: TEXT is token ids, print the text they stand for.")
    ] = False
