"""How tokens are chosen, and how long answers and thoughts may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ..choices import Think

OTHERWISE = "Default: the model's recommendation, otherwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen."""

    temp: Annotated[
        float | None,
        typer.Option(
            "--temp",
            metavar="T",
            help=f"Temperature; 0 always picks the most likely token. {OTHERWISE} 0.8.",
        ),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            metavar="K",
            help=f"Sample from the K most likely tokens; 0 turns it off. {OTHERWISE} 40.",
        ),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            "--top-p",
            metavar="P",
            help="Nucleus sampling: sample from the most likely tokens whose probabilities add up to P; 1 turns it "
            f"off. {OTHERWISE} 0.95.",
        ),
    ] = None
    min_p: Annotated[
        float | None,
        typer.Option(
            "--min-p",
            metavar="P",
            help=f"Drop tokens less likely than P times the most likely one; 0 turns it off. {OTHERWISE} 0.05.",
        ),
    ] = None
    typical: Annotated[
        float | None,
        typer.Option("--typical", metavar="P", help="Locally typical sampling; 1 turns it off. Default: 1."),
    ] = None
    repeat: Annotated[
        float | None,
        typer.Option(
            "--repeat-penalty",
            metavar="X",
            help=f"Penalty for repeating recent tokens; 1 turns it off. {OTHERWISE} 1.",
        ),
    ] = None
    frequency: Annotated[
        float | None,
        typer.Option(
            "--frequency-penalty",
            metavar="X",
            help="Penalty for a recent token, for each time it occurred; 0 turns it off. Default: 0.",
        ),
    ] = None
    presence: Annotated[
        float | None,
        typer.Option(
            "--presence-penalty", metavar="X", help="Penalty for a recent token, once; 0 turns it off. Default: 0."
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            help="Random seed; the same seed gives the same text. Default: a different one each time.",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """The parameters by their names in `SamplingParams`, None where not given. Raises UsageError for bad values."""
        from ...generation.sampling_defaults import check

        given = {
            "temperature": self.temp, "top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p,
            "typical_p": self.typical, "repeat_penalty": self.repeat, "frequency_penalty": self.frequency,
            "presence_penalty": self.presence, "seed": self.seed,
        }  # fmt: skip
        check(given)
        return given


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLimits:
    """How long answers and thoughts may be."""

    max_tokens: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--max-tokens",
            metavar="N",
            min=0,
            help="Maximum number of tokens to generate. Default: until the model ends.",
        ),
    ] = None
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", metavar="TEXT", help="Stop before this text is generated; may be repeated."),
    ] = None
    think: Annotated[
        Think,
        typer.Option("--think", help="Turn the model's thinking on or off, if its template can; auto: as it prefers."),
    ] = Think.auto
    think_budget: Annotated[
        int | None,
        typer.Option(
            "--think-budget",
            metavar="N",
            min=0,
            help="Maximum number of thinking tokens per answer. Default: no limit.",
        ),
    ] = None
