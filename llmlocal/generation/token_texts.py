"""Sampling parameters that users give as texts, and that samplers take as token ids. Checks need no NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..text import shown

if TYPE_CHECKING:
    from ..tokenizer import Tokenizer

MOST_DIGITS = 18  # of a token id; Python reads no number of some thousands
DRY_BREAKERS = ("\n", ":", '"', "*")
BAN, BIAS, BREAKERS = "ban", "bias", "breakers"  # names beside those of `SamplingParams`


def in_ids(given: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Parameters of which BAN, BIAS and BREAKERS, texts, are replaced by what samplers take.

    Raises UsageError for what no token stands for.
    """
    found = {name: value for name, value in given.items() if name not in (BAN, BIAS, BREAKERS)}
    if given.get(BIAS):
        found["logit_bias"] = dict(_bias(text, tokenizer) for text in given[BIAS])
    if given.get(BAN):
        from .samplers.ban import Ban

        found["ban"] = Ban([text.encode("utf-8", "surrogateescape") for text in given[BAN]], _pieces(tokenizer))
    if found.get("dry_multiplier"):
        ends = [text.encode() for text in given.get(BREAKERS) or DRY_BREAKERS]
        pieces = enumerate(_pieces(tokenizer))
        found["dry_breakers"] = frozenset(id for id, piece in pieces if any(end in piece for end in ends))
    return found


def check_texts(ban: Sequence[str], bias: Sequence[str], breakers: Sequence[str]) -> None:
    """Raises UsageError for what cannot be meant, before a model is opened."""
    if "" in (*ban, *breakers):
        raise UsageError("a text of --ban or --dry-breaker is empty")
    for text in bias:
        _divided(text)


def _divided(text: str) -> tuple[str, float]:
    token, divided, value = text.rpartition("=")
    try:
        if token and divided:
            return token, float(value)
    except ValueError:
        pass
    raise UsageError(f"--logit-bias {shown(text)}: must be TOKEN=VALUE", "such as 13=-5, or ' yes=2.5'")


def _bias(text: str, tokenizer: Tokenizer) -> tuple[int, float]:
    token, value = _divided(text)
    if token.isascii() and token.isdigit() and len(token) <= MOST_DIGITS:
        return int(token), value
    ids = tokenizer.encode(token, add_special=False, continues=True)
    if len(ids) != 1:
        raise UsageError(f"--logit-bias {shown(text)}: the text is {len(ids)} tokens", "llmlocal tokenize shows them")
    return ids[0], value


def _pieces(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes of each token; none of those that are hidden."""
    return [tokenizer.visible_piece(id, first=False, special=False) or b"" for id in range(tokenizer.n_vocab)]
