"""Options of all commands: each name, meaning and default is written once, here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Layout(StrEnum):
    """How a table is written."""

    md = "md"
    json = "json"
    csv = "csv"


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A GGUF file.", show_default=False)]
Prompt = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT|-", help="The text; - or none reads stdin; a pipe or file on stdin is put after it."
    ),
]
NoStdin = Annotated[bool, typer.Option("--no-stdin", help="Never read stdin.")]
Raw = Annotated[bool, typer.Option("--raw", help="Continue the text as it is, without a chat template.")]
MaxTokens = Annotated[
    int | None, typer.Option("-n", "--max-tokens", min=0, help="Most tokens to make; by default until the model ends.")
]
Ctx = Annotated[
    int | None, typer.Option("-c", "--ctx", min=1, help="Context in tokens; by default the model's, 4096 at most.")
]
Threads = Annotated[
    int | None, typer.Option("-t", "--threads", min=1, help="Threads; by default one for each physical core.")
]
Temp = Annotated[float, typer.Option("--temp", help="Temperature; 0 always takes the likeliest token.")]
TopK = Annotated[int, typer.Option("--top-k", help="Draw from the K likeliest tokens; 0 is off.")]
TopP = Annotated[float, typer.Option("--top-p", help="Draw from the likeliest tokens that make up P; 1 is off.")]
MinP = Annotated[float, typer.Option("--min-p", help="Drop tokens below P times the likeliest; 0 is off.")]
Typical = Annotated[float, typer.Option("--typical", help="Locally typical sampling; 1 is off.")]
RepeatPenalty = Annotated[float, typer.Option("--repeat-penalty", help="Divide what was said lately; 1 is off.")]
FrequencyPenalty = Annotated[float, typer.Option("--frequency-penalty", help="Subtract per time said; 0 is off.")]
PresencePenalty = Annotated[float, typer.Option("--presence-penalty", help="Subtract once if said; 0 is off.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same text; by default a random one.")]
Stop = Annotated[list[str] | None, typer.Option("--stop", help="End before this text; may be repeated.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors on stderr.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Speed and seed on stderr at the end.")]

BenchPrompt = Annotated[int, typer.Option("-p", "--prompt", min=0, help="Tokens of prompt; 0 leaves this test out.")]
BenchAnswer = Annotated[int, typer.Option("-n", "--gen", min=0, help="Tokens to make; 0 leaves this test out.")]
Depth = Annotated[int, typer.Option("-d", "--depth", min=0, help="Tokens already in the context.")]
Repeats = Annotated[int, typer.Option("-r", "--repeats", min=1, help="Times that each test is run.")]
Output = Annotated[Layout, typer.Option("-o", "--output", help="How the table is written.")]
