"""How tokens are chosen, and how long answers and thoughts may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..choices import Think
from ..option_groups import option

OTHERWISE = "Default: the model's recommendation, otherwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen."""

    temp: float | None = option(
        "--temp", metavar="T", help=f"Temperature; 0 always picks the most likely token. {OTHERWISE} 0.8."
    )
    top_k: int | None = option(
        "--top-k", metavar="K", help=f"Sample from the K most likely tokens; 0 turns it off. {OTHERWISE} 40."
    )
    top_p: float | None = option(
        "--top-p",
        metavar="P",
        help="Nucleus sampling: sample from the most likely tokens whose probabilities add up to P; 1 turns it "
        f"off. {OTHERWISE} 0.95.",
    )
    min_p: float | None = option(
        "--min-p",
        metavar="P",
        help=f"Drop tokens less likely than P times the most likely one; 0 turns it off. {OTHERWISE} 0.05.",
    )
    typical: float | None = option(
        "--typical", metavar="P", help="Locally typical sampling; 1 turns it off. Default: 1."
    )
    repeat: float | None = option(
        "--repeat-penalty", metavar="X", help=f"Penalty for repeating recent tokens; 1 turns it off. {OTHERWISE} 1."
    )
    frequency: float | None = option(
        "--frequency-penalty",
        metavar="X",
        help="Penalty for a recent token, for each time it occurred; 0 turns it off. Default: 0.",
    )
    presence: float | None = option(
        "--presence-penalty", metavar="X", help="Penalty for a recent token, once; 0 turns it off. Default: 0."
    )
    seed: int | None = option(
        "--seed",
        metavar="N",
        help="Random seed; the same seed gives the same text. Default: a different one each time.",
    )

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

    max_tokens: int | None = option(
        "-n",
        "--max-tokens",
        metavar="N",
        min=0,
        help="Maximum number of tokens to generate. Default: until the model ends.",
    )
    stop: list[str] | None = option(
        "--stop", metavar="TEXT", help="Stop before this text is generated; may be repeated."
    )
    think: Think = option(
        "--think",
        help="Turn the model's thinking on or off, if its template can; auto: as it prefers.",
        default=Think.auto,
    )
    think_budget: int | None = option(
        "--think-budget", metavar="N", min=0, help="Maximum number of thinking tokens per answer. Default: no limit."
    )
