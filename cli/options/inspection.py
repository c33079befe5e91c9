"""What a file and a text consist of."""

from __future__ import annotations

from typing import Annotated

import typer

Key = Annotated[
    str | None,
    typer.Argument(metavar="KEY", help="Print the whole value of this metadata key.", show_default=False),
]
Kv = Annotated[bool, typer.Option("--kv", help="List the metadata; with KEY, print its whole value.")]
Tensors = Annotated[bool, typer.Option("--tensors", help="List the tensors: name, format, shape, size.")]
ShowTemplate = Annotated[bool, typer.Option("--template", help="Print the chat template.")]
Fit = Annotated[
    bool,
    typer.Option(
        "--fit", help="Check whether the model fits this machine, at which context size, and how fast it can be."
    ),
]
Text = Annotated[
    str | None,
    typer.Argument(
        metavar="TEXT",
        help="The text; - reads it from stdin. Text piped to stdin is added after it. Default: stdin.",
        show_default=False,
    ),
]
Ids = Annotated[bool, typer.Option("--ids", help="Print only the token ids, on one line.")]
Pieces = Annotated[bool, typer.Option("--pieces", help="Print only the text of each token, one per line.")]
Count = Annotated[bool, typer.Option("--count", help="Print only the number of tokens.")]
NoSpecial = Annotated[
    bool, typer.Option("--no-special", help="Add no BOS or EOS token, and read special tokens in TEXT as plain text.")
]
Decode = Annotated[bool, typer.Option("--decode", help="Decode: TEXT is token ids, print the text they stand for.")]
