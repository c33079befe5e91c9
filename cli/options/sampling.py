"""How tokens are chosen, and how long answers and thoughts may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import UsageError
from ..choices import Think
from ..option_groups import Settled, setting

if TYPE_CHECKING:
    from ...chat.chat import ChatSettings
    from ...constraints.grammar import Grammar
    from ...generation.sampling_params import SamplingParams

OTHERWISE = "Default: the model's recommendation, otherwise"


class Sampling(Settled):
    """How tokens are chosen."""

    temp: float | None = setting("--temp T", f"Temperature; 0 always picks the most likely token. {OTHERWISE} 0.8.")
    top_k: int | None = setting("--top-k K", f"Sample from the K most likely tokens; 0 turns it off. {OTHERWISE} 40.")
    top_p: float | None = setting(
        "--top-p P",
        "Nucleus sampling: sample from the most likely tokens whose probabilities add up to P; 1 turns it "
        f"off. {OTHERWISE} 0.95.",
    )
    min_p: float | None = setting(
        "--min-p P", f"Drop tokens less likely than P times the most likely one; 0 turns it off. {OTHERWISE} 0.05."
    )
    typical: float | None = setting("--typical P", "Locally typical sampling; 1 turns it off. Default: 1.")
    repeat: float | None = setting(
        "--repeat-penalty X", f"Penalty for repeating recent tokens; 1 turns it off. {OTHERWISE} 1."
    )
    frequency: float | None = setting(
        "--frequency-penalty X", "Penalty for a recent token, for each time it occurred; 0 turns it off. Default: 0."
    )
    presence: float | None = setting(
        "--presence-penalty X", "Penalty for a recent token, once; 0 turns it off. Default: 0."
    )
    seed: int | None = setting(
        "--seed N", "Random seed; the same seed gives the same text. Default: a different one each time."
    )

    top_n_sigma: float | None = setting(
        "--top-n-sigma N",
        "Keep tokens whose logits are within N standard deviations of the best; 0 turns it off. Default: 0.",
    )
    xtc_probability: float | None = setting(
        "--xtc-probability P",
        "With probability P, exclude all tokens above --xtc-threshold but the least likely of them (XTC); 0 turns "
        "it off. Default: 0.",
    )
    xtc_threshold: float | None = setting(
        "--xtc-threshold P", "How probable a token must be for XTC to exclude it. Default: 0.1."
    )
    dynatemp_range: float | None = setting(
        "--dynatemp-range X", "Let the temperature follow the entropy, within X of --temp; 0 turns it off. Default: 0."
    )
    dynatemp_exponent: float | None = setting(
        "--dynatemp-exponent X", "How the temperature rises with the entropy. Default: 1."
    )
    mirostat: int | None = setting(
        "--mirostat N", "Mirostat 1 or 2 in place of all stages but the temperature. Default: 0 (off)."
    )
    mirostat_tau: float | None = setting("--mirostat-tau X", "Mirostat: surprise to aim at, in bits. Default: 5.")
    mirostat_eta: float | None = setting("--mirostat-eta X", "Mirostat: learning rate. Default: 0.1.")
    dry_multiplier: float | None = setting(
        "--dry-multiplier X",
        "DRY: penalize tokens that go on with a repetition, by X * base^(its length - allowed length); 0 turns it "
        "off. Default: 0.",
    )
    dry_base: float | None = setting("--dry-base X", "DRY: base of the penalty. Default: 1.75.")
    dry_allowed: int | None = setting(
        "--dry-allowed-length N", "DRY: shortest repetition that is penalized, in tokens. Default: 2."
    )
    dry_last: int | None = setting(
        "--dry-last-n N", "DRY: how many tokens are searched for repetitions; -1: all. Default: -1."
    )
    dry_breaker: list[str] | None = setting(
        "--dry-breaker TEXT",
        'DRY: a repetition ends at tokens with this text; may be repeated. Default: line feed, : " and *.',
    )
    samplers: str | None = setting(
        "--samplers A,B,...",
        "Order of the stages; those left out are off. Default: "
        "top_n_sigma, top_k, typical_p, top_p, min_p, xtc, temperature.",
    )
    logit_bias: list[str] | None = setting(
        "--logit-bias TOKEN=X",
        "Add X to the logit of a token, an id or the token's text; -inf forbids it; may be repeated.",
    )
    ban: list[str] | None = setting(
        "--ban TEXT", "Never generate this text, whatever tokens it comes in; may be repeated."
    )

    def given(self) -> dict[str, Any]:
        """The parameters by their names in `SamplingParams` and `token_texts`, None where not given.

        Raises UsageError for bad values, and for what was typed and has no effect.
        """
        from ...generation.sampling_defaults import check
        from ...generation.token_texts import BAN, BIAS, BREAKERS

        numbers = self._numbers()
        check(numbers, numbers.keys() - self.settled_names)
        if self.typed().dry_breaker and not self.dry_multiplier:
            raise UsageError("--dry-breaker has no effect without --dry-multiplier", "set it too, or leave this out")
        self.check_values()
        return {**numbers, BAN: self.ban, BIAS: self.logit_bias, BREAKERS: self.dry_breaker}

    @property
    def settled_names(self) -> frozenset[str]:
        """The names, as `given` has them, of those that come from the user's settings."""
        typed = self.typed()._numbers()
        return frozenset(name for name, value in self._numbers().items() if value is not None and typed[name] is None)

    def check_values(self) -> None:
        """Raises UsageError for a value that none of the others can make valid."""
        from ...generation.sampling_defaults import check
        from ...generation.token_texts import check_texts

        check(self._numbers(), ())
        check_texts(self.ban or (), self.logit_bias or (), self.dry_breaker or ())

    def _numbers(self) -> dict[str, Any]:
        stages = None if self.samplers is None else tuple(filter(None, map(str.strip, self.samplers.split(","))))
        return {
            "temperature": self.temp, "top_k": self.top_k, "top_p": self.top_p, "min_p": self.min_p,
            "typical_p": self.typical, "repeat_penalty": self.repeat, "frequency_penalty": self.frequency,
            "presence_penalty": self.presence, "seed": self.seed, "top_n_sigma": self.top_n_sigma,
            "xtc_probability": self.xtc_probability, "xtc_threshold": self.xtc_threshold,
            "dynatemp_range": self.dynatemp_range, "dynatemp_exponent": self.dynatemp_exponent,
            "mirostat": self.mirostat, "mirostat_tau": self.mirostat_tau, "mirostat_eta": self.mirostat_eta,
            "dry_multiplier": self.dry_multiplier, "dry_base": self.dry_base, "dry_allowed_length": self.dry_allowed,
            "dry_last_n": self.dry_last, "stages": stages,
        }  # fmt: skip


class AnswerLimits(Settled):
    """How long answers and thoughts may be."""

    max_tokens: int | None = setting(
        "-n --max-tokens N", "Maximum number of tokens to generate. Default: until the model ends.", min=0
    )
    stop: list[str] | None = setting("--stop TEXT", "Stop before this text is generated; may be repeated.")
    think: Think = setting(
        "--think", "Turn the model's thinking on or off, if its template can; auto: as it prefers.", default=Think.auto
    )
    think_budget: int | None = setting(
        "--think-budget N", "Maximum number of thinking tokens per answer. Default: no limit.", min=0
    )

    def settings(self, sampling: SamplingParams, grammar: Grammar | None, tool_choice: str) -> ChatSettings:
        """How to answer, with these limits."""
        from ...chat.chat import ChatSettings

        return ChatSettings(
            sampling,
            self.max_tokens,
            self.stop or (),
            self.think.value,
            self.think_budget,
            grammar=grammar,
            tool_choice=tool_choice,
        )
