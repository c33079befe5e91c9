"""Whether two files have the same vocabulary: then an id of one is the same text in the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..gguf.values import Array
from ..tokenizer.vocab import ID_KEYS, PREFIX, UNUSED


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What differs in the vocabularies of two files, by their metadata; empty where they are the same.

    Tokens, merges and the special ids that both name are compared. Unused tokens at the end of the longer one, with
    which models round up the number of rows, do not count.
    """
    for metadata in (one, other):
        if not isinstance(metadata.get(PREFIX + "tokens"), Array | list):
            return "a vocabulary is missing"
    if one.get(PREFIX + "model") != other.get(PREFIX + "model"):
        return "the kind of tokenizer differs"
    if not _same_tokens(one, other):
        return "the tokens differ"
    if not _equal(one.get(PREFIX + "merges"), other.get(PREFIX + "merges")):
        return "the merges differ"
    keys = (f"{PREFIX}{spelling}_token_id" for spellings in ID_KEYS.values() for spelling in spellings)
    wrong = next((key for key in keys if key in one and key in other and one[key] != other[key]), None)
    return f"{wrong.removeprefix(PREFIX)} differs" if wrong else ""


def _same_tokens(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    short, long = sorted((one, other), key=lambda metadata: len(metadata[PREFIX + "tokens"]))
    tokens, more = short[PREFIX + "tokens"], long[PREFIX + "tokens"]
    if len(tokens) == len(more):
        return _equal(tokens, more)
    types = long.get(PREFIX + "token_type")
    if not isinstance(types, Array | list) or len(types) != len(more):
        return False
    return set(list(types)[len(tokens) :]) == {UNUSED} and list(tokens) == list(more)[: len(tokens)]


def _equal(one: Sequence[Any] | None, other: Sequence[Any] | None) -> bool:
    if isinstance(one, Array) and isinstance(other, Array):
        return one.type == other.type and one.raw == other.raw
    return one is other is None or (one is not None and other is not None and list(one) == list(other))
