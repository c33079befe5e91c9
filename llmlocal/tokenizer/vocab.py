"""The vocabulary from GGUF metadata, validated before use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

from ..errors import BadFileError
from .special import control_texts, stop_ids

PREFIX = "tokenizer.ggml."
UNDEFINED, NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(7)  # GGUF's token types

# Name of a special id -> GGUF's keys, of which the first present counts ("seperator" is GGUF's spelling).
ID_KEYS = {
    "bos": ("bos",),
    "eos": ("eos",),
    "eot": ("eot",),
    "eom": ("eom",),
    "unk": ("unknown",),
    "sep": ("seperator",),
    "pad": ("padding",),
    "cls": ("cls",),
    "mask": ("mask",),
    "fim_pre": ("fim_pre", "prefix"),
    "fim_suf": ("fim_suf", "suffix"),
    "fim_mid": ("fim_mid", "middle"),
    "fim_pad": ("fim_pad",),
    "fim_rep": ("fim_rep",),
    "fim_sep": ("fim_sep",),
}
NEEDED = ("bos", "eos", "unk", "sep")  # by tokenizers whose conventions name a default
BYTE_TEXT = re.compile(r"<0x[0-9A-F]{2}>")
PLURALS = {str: "strings", int: "integers", float: "floats"}
SPACE = "▁"  # how SentencePiece spells a space within a token


class Conventions(NamedTuple):
    """Defaults of a kind of tokenizer for keys that the metadata lacks, as in llama.cpp."""

    bos: int | None = None
    eos: int | None = None
    unk: int | None = None
    sep: int | None = None
    pad: int | None = None
    mask: int | None = None
    add_bos: bool = False
    add_eos: bool = False
    add_sep: bool = False
    add_space_prefix: bool = False
    closing: str = "eos"  # the special token after a text: "eos" or "sep"


class Vocab:
    """Tokens with their types, scores and special ids.

    `tokens[id]` is the text, `types[id]` GGUF's token type, `scores` one float per token or None, `ids` the inverse of
    `tokens` (without empty texts), `special` the existing special ids by name ("bos", "eos", "unk", ...), `stop_ids`
    those that end generation, `notes` warnings for the user. The constructor raises BadFileError for inconsistent
    metadata.
    """

    def __init__(self, metadata: Mapping[str, Any], conventions: Conventions) -> None:
        self.tokens = _tokens(metadata)
        self.ids = _ids(self.tokens)
        self.scores = _scores(metadata, len(self.tokens))
        self.special, self.notes = _special(metadata, conventions, len(self.tokens))
        self.stop_ids = stop_ids(self.ids, self.special)
        types = bytearray(_types(metadata, self.tokens))
        for text in control_texts(self.ids, self.special):
            types[self.ids[text]] = CONTROL
        self.types = bytes(types)
        self.add_bos = self._adds(metadata, "bos", conventions.add_bos)
        self.add_eos = self._adds(metadata, "eos", conventions.add_eos)
        self.add_sep = self._adds(metadata, "sep", conventions.add_sep)
        self.add_cls = self._adds(metadata, "cls", False)  # behind all other tokens of a text (XLNet)
        self.closing = conventions.closing
        self.add_space_prefix = flag(metadata, "add_space_prefix", conventions.add_space_prefix)

    def _adds(self, metadata: Mapping[str, Any], name: str, default: bool) -> bool:
        """Whether a special token is added to texts; by default only where the vocabulary has it."""
        if flag(metadata, f"add_{name}_token", False) and name not in self.special:
            raise BadFileError(f"{PREFIX}add_{name}_token is true but there is no {PREFIX}{ID_KEYS[name][0]}_token_id")
        return flag(metadata, f"add_{name}_token", default and name in self.special)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def unknown(self) -> int | None:
        """The token that stands for text which the vocabulary lacks; None where the file names a control token."""
        id = self.special.get("unk")
        return None if id is None or self.types[id] == CONTROL else id

    def byte_ids(self) -> list[int | None]:
        """For each of the 256 bytes the id of its token `<0x..>`, None where the vocabulary has none."""
        return [self.ids.get(f"<0x{byte:02X}>") for byte in range(256)]

    def of_type(self, *types: int) -> list[int]:
        """Ids whose type is one of `types`, ascending. Cheap: one scan of the type bytes in C."""
        return [found.start() for found in re.finditer(b"[%s]" % re.escape(bytes(types)), self.types)]

    def prefix_and_suffix(self) -> tuple[list[int], list[int]]:
        """The ids that `add_special` puts before and after a text."""
        closes = self.add_sep if self.closing == "sep" else self.add_eos
        after = [self.special[self.closing]] if closes else []
        after += [self.special["cls"]] if self.add_cls else []
        return [self.special["bos"]] if self.add_bos else [], after


def _tokens(metadata: Mapping[str, Any]) -> list[str]:
    tokens = string_array(metadata, "tokens")
    if not tokens:
        raise BadFileError(f"{PREFIX}tokens is missing or empty")
    return tokens


def _ids(tokens: list[str]) -> dict[str, int]:
    ids = dict(zip(tokens, range(len(tokens)), strict=True))
    named = len(tokens) - (tokens.count("") if ids.pop("", None) is not None else 0)
    if len(ids) != named:
        twice = next(text for i, text in enumerate(tokens) if text and ids[text] != i)
        raise BadFileError(f"{PREFIX}tokens contains {_shown(twice)} twice")
    return ids


def _scores(metadata: Mapping[str, Any], n: int) -> list[float] | None:
    scores = _array(metadata, "scores", float, n)
    if scores is not None and not all(map(isfinite, scores)):
        bad = next(i for i, score in enumerate(scores) if not isfinite(score))
        raise BadFileError(f"{PREFIX}scores[{bad}] is {scores[bad]}, not a finite number")
    return scores


def _types(metadata: Mapping[str, Any], tokens: list[str]) -> bytes:
    types = _array(metadata, "token_type", int, len(tokens))
    if types is None:
        return bytes([NORMAL]) * len(tokens)
    strange = set(types) - set(range(BYTE + 1))
    if strange:
        raise BadFileError(f"{PREFIX}token_type[{types.index(min(strange))}] is {min(strange)}, expected 0 to {BYTE}")
    packed = bytes(types)
    at = packed.find(BYTE)
    while at >= 0:
        if not BYTE_TEXT.fullmatch(tokens[at]):
            raise BadFileError(
                f"{PREFIX}tokens[{at}] has type byte, but its text is {_shown(tokens[at])}, not <0x00>..<0xFF>"
            )
        at = packed.find(BYTE, at + 1)
    return packed


def _special(metadata: Mapping[str, Any], conventions: Conventions, n: int) -> tuple[dict[str, int], list[str]]:
    """Special ids by name, and a warning for each that lies outside the vocabulary of `n` tokens.

    In its place the default of the tokenizer's kind counts, as in llama.cpp. Raises BadFileError where that is needed
    and lies outside, too.
    """
    special: dict[str, int] = {}
    outside, notes = ids_outside(metadata, n), []
    for name, spellings in ID_KEYS.items():
        keys = [f"{PREFIX}{spelling}_token_id" for spelling in spellings]
        key, default = next((key for key in keys if key in metadata), None), getattr(conventions, name, None)
        if name not in outside:
            id = metadata[key] if key else default
        else:
            id = default if default is not None and (default < n or name in NEEDED) else None
            notes.append(f"{outside[name]}: {'it is ignored' if id is None else f'the default, {id}, is used'}")
        if id is None:
            continue
        if type(id) is not int:
            raise BadFileError(f"{key} is {_shown(id)}, not a token id")
        if id >= n:
            raise BadFileError(f"{keys[0]} is absent and its default is {id}, outside the vocabulary of {n} tokens")
        special[name] = id
    return special, notes


def ids_outside(metadata: Mapping[str, Any], n: int) -> dict[str, str]:
    """The special ids that lie outside a vocabulary of `n` tokens: a sentence for each, by name."""
    found = {}
    for name, spellings in ID_KEYS.items():
        keys = (f"{PREFIX}{spelling}_token_id" for spelling in spellings)
        key = next((key for key in keys if key in metadata), None)
        if key and type(metadata[key]) is int and not 0 <= metadata[key] < n:
            found[name] = f"{key} is {metadata[key]}, outside the vocabulary of {n} tokens"
    return found


def byte_of(text: str) -> bytes:
    """The byte that a byte token such as `<0x0A>` stands for."""
    return bytes.fromhex(text[3:5])


def vocabulary_size(metadata: Mapping[str, Any]) -> int:
    """Number of tokens in the file's vocabulary, 0 where it has none."""
    tokens = metadata.get(PREFIX + "tokens")
    return len(tokens) if isinstance(tokens, Sequence) and not isinstance(tokens, str | bytes) else 0


def flag(metadata: Mapping[str, Any], name: str, default: bool) -> bool:
    """A boolean among the tokenizer's keys. Raises BadFileError for another type."""
    value = metadata.get(PREFIX + name, default)
    if type(value) is not bool:
        raise BadFileError(f"{PREFIX}{name} is {_shown(value)}, not true or false")
    return value


def string_array(metadata: Mapping[str, Any], name: str) -> list[str] | None:
    """An array of strings among the tokenizer's keys, None where there is none; what is not UTF-8 is escaped."""
    return _array(metadata, name, str)


def integer_array(metadata: Mapping[str, Any], name: str) -> list[int] | None:
    """An array of integers among the tokenizer's keys, None where there is none."""
    return _array(metadata, name, int)


def _array(metadata: Mapping[str, Any], name: str, kind: type, n: int | None = None) -> list[Any] | None:
    value = metadata.get(PREFIX + name)
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise BadFileError(f"{PREFIX}{name} is {_shown(value)}, not an array")
    of_a_file = hasattr(value, "strings_as_bytes")  # such an array has elements of one type
    text = ("surrogateescape",) if of_a_file else ()
    values: list[Any] = value.tolist(*text) if hasattr(value, "tolist") else list(value)
    kinds = set(map(type, values[:1] if of_a_file else values))
    if n is not None and len(values) != n:
        raise BadFileError(f"{PREFIX}{name} has {len(values)} entries for {n} tokens")
    if kinds - {kind}:
        raise BadFileError(f"{PREFIX}{name} must hold {PLURALS[kind]}, not {(kinds - {kind}).pop().__name__} values")
    return values


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
