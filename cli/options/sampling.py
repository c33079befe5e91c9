"""How tokens are chosen, and how long answers and thoughts may be."""

from __future__ import annotations

from typing import Annotated

import typer

from ..choices import Think

MaxTokens = Annotated[
    int | None,
    typer.Option(
        "-n",
        "--max-tokens",
        metavar="N",
        min=0,
        help="Maximum number of tokens to generate. Default: until the model ends.",
    ),
]
Temp = Annotated[
    float | None,
    typer.Option(
        "--temp",
        metavar="T",
        help="Temperature; 0 always picks the most likely token. Default: the model's recommendation, otherwise 0.8.",
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        metavar="K",
        help="Sample from the K most likely tokens; 0 turns it off. Default: the model's recommendation, otherwise 40.",
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        metavar="P",
        help="Nucleus sampling: sample from the most likely tokens whose probabilities add up to P; 1 turns it off. "
        "Default: the model's recommendation, otherwise 0.95.",
    ),
]
MinP = Annotated[
    float | None,
    typer.Option(
        "--min-p",
        metavar="P",
        help="Drop tokens less likely than P times the most likely one; 0 turns it off. "
        "Default: the model's recommendation, otherwise 0.05.",
    ),
]
Typical = Annotated[
    float | None,
    typer.Option("--typical", metavar="P", help="Locally typical sampling; 1 turns it off. Default: 1."),
]
RepeatPenalty = Annotated[
    float | None,
    typer.Option(
        "--repeat-penalty",
        metavar="X",
        help="Penalty for repeating recent tokens; 1 turns it off. Default: the model's recommendation, otherwise 1.",
    ),
]
FrequencyPenalty = Annotated[
    float | None,
    typer.Option(
        "--frequency-penalty",
        metavar="X",
        help="Penalty for a recent token, for each time it occurred; 0 turns it off. Default: 0.",
    ),
]
PresencePenalty = Annotated[
    float | None,
    typer.Option(
        "--presence-penalty", metavar="X", help="Penalty for a recent token, once; 0 turns it off. Default: 0."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Random seed; the same seed gives the same text. Default: a different one each time.",
    ),
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="Stop before this text is generated; may be repeated."),
]
ThinkSwitch = Annotated[
    Think,
    typer.Option("--think", help="Turn the model's thinking on or off, if its template can; auto: as it prefers."),
]
ThinkBudget = Annotated[
    int | None,
    typer.Option(
        "--think-budget", metavar="N", min=0, help="Maximum number of thinking tokens per answer. Default: no limit."
    ),
]
