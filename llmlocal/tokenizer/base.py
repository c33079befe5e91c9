"""The interface of all tokenizers, and the registry of their kinds.

A kind is one subclass in one file of this folder; adding the file registers it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from ..text import HALF_PAIR, UNDECODED, counted
from .special import Special, SpecialTokens, strips
from .vocab import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNDEFINED,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Conventions,
    Vocab,
    byte_of,
)

KINDS: dict[str, type[Tokenizer]] = {}
PIECE = 1 << 16  # bytes of text that are encoded together
BETWEEN_WORDS = re.compile(rb".*[A-Za-z](?= [A-Za-z])", re.DOTALL)  # to the last place
CUT_LENGTH = 3  # bytes that show such a place
CACHED_WORDS = 50_000
CACHED_LENGTH = 64  # characters of the longest word that is cached
KEPT_PIECES = 1 << 12  # tokens whose bytes are kept: those of answers come again and again


class Tokenizer(ABC):
    """Text to token ids and back.

    A subclass is declared as `class Spm(Tokenizer, kinds=("llama",))`, with values of `tokenizer.ggml.model`, and
    implements `encode_part`. The constructor raises BadFileError for a damaged vocabulary; `notes` are warnings.
    """

    conventions: ClassVar[Conventions] = Conventions()

    def __init_subclass__(cls, *, kinds: tuple[str, ...]) -> None:
        KINDS.update(dict.fromkeys(kinds, cls))

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.vocab = Vocab(metadata, self.conventions_for(metadata))
        self.notes = list(self.vocab.notes)  # warnings for the user about this vocabulary, a line each
        self._hidden = frozenset(self.vocab.of_type(CONTROL, UNKNOWN))
        self._kept_piece = lru_cache(KEPT_PIECES)(self._piece)
        self.special_tokens = SpecialTokens(self._of_vocabulary(metadata))

    @classmethod
    def conventions_for(cls, metadata: Mapping[str, Any]) -> Conventions:
        """Defaults for keys that the metadata lacks; overridden where they depend on the pre-tokenizer."""
        return cls.conventions

    @abstractmethod
    def encode_part(self, text: str, after_special: bool) -> list[int]:
        """Ids of a text without special tokens; `after_special` where a special token or the start precedes it."""

    def piece(self, id: int) -> bytes:
        """The bytes that a token stands for, special tokens by their names. Raises ValueError for an unknown id."""
        return self._kept_piece(id)

    def _piece(self, id: int) -> bytes:
        """`piece`, made anew. As in SentencePiece: byte tokens are bytes, normal tokens write a space as `▁`."""
        text, type = self.token_text(id), self.vocab.types[id]
        if type == BYTE:
            return byte_of(text)
        if type in (UNDEFINED, UNUSED):
            return b""
        return (text.replace(SPACE, " ") if type == NORMAL else text).encode("utf-8", "surrogateescape")

    def encode(
        self, text: str | bytes, *, add_special: bool = True, parse_special: bool = False, continues: bool = False
    ) -> list[int]:
        """Token ids of `text`; bytes that are not UTF-8, and their surrogate escapes in a str, are kept exactly.

        `add_special` adds BOS and EOS where the model expects them. `parse_special` turns the text of control tokens
        into those tokens: for chat templates only, never for text of users. `continues`: the text goes on where another
        ended, so that no space is put before it.
        """
        if isinstance(text, bytes):
            text = _text(text)
        elif HALF_PAIR.search(text):
            text = HALF_PAIR.sub("\ufffd", text)
        before, after = self.vocab.prefix_and_suffix() if add_special else ([], [])
        parts = self.special_tokens.split(text, control=parse_special)
        return before + self._encode_parts(parts, not continues) + after

    def encode_parts(self, parts: Iterable[str | int]) -> list[int]:
        """Token ids of a text in which some tokens stand already, with BOS and EOS where the model expects them."""
        before, after = self.vocab.prefix_and_suffix()
        return before + self._encode_parts(parts, True) + after

    def encode_pieces(
        self, pieces: Iterable[bytes], *, add_special: bool = True, parse_special: bool = False
    ) -> Iterator[list[int]]:
        """The ids that `encode` gives for all pieces of a text together, in lists.

        Where the tokenizer permits it, the text is cut between words, so that a text of any size takes little memory.
        """
        before, after = self.vocab.prefix_and_suffix() if add_special else ([], [])
        yield before
        cuts = self._splits_at_spaces and not any(" " in special.text for special in self.special_tokens)
        kept, new, after_special = bytearray(), 0, True  # bytes from `new` on have not been searched
        for piece in pieces:
            kept += piece
            if not cuts or len(kept) < PIECE:
                continue
            found = BETWEEN_WORDS.match(kept, new)  # `search` would try every place where a line has none
            new = max(len(kept) - CUT_LENGTH + 1, 0)
            if found is None:
                continue
            parts = self.special_tokens.split(_text(kept[: found.end()]), control=parse_special)
            if isinstance(parts[-1], str):
                yield self._encode_parts(parts, after_special)
                del kept[: found.end()]
                new, after_special = 0, False
        parts = self.special_tokens.split(_text(kept), control=parse_special)
        yield self._encode_parts(parts, after_special) + after

    def _encode_parts(self, parts: Iterable[str | int], after_special: bool) -> list[int]:
        ids: list[int] = []
        for part in parts:
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self.encode_part(part, after_special)
            after_special = isinstance(part, int)
        return ids

    def most_bytes(self, tokens: int) -> int | None:
        """The largest size in bytes of a text that `tokens` tokens can spell; None where a token can spell any text."""
        return tokens * self._longest if self._longest is not None else None

    @cached_property
    def _longest(self) -> int | None:
        """Bytes of the longest text that one token spells; an upper bound, since its characters are counted."""
        return 4 * max(map(len, self.vocab.tokens))

    @property
    def _splits_at_spaces(self) -> bool:
        """Whether a text can be cut before a space between two ASCII letters without changing its tokens."""
        return False

    def decode(self, ids: Iterable[int], *, special: bool = False) -> str:
        """Text of `ids`, with U+FFFD for invalid UTF-8. Raises ValueError for an id outside the vocabulary."""
        return self.decode_bytes(ids, special=special).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int], *, special: bool = False) -> bytes:
        """Bytes of `ids`; control tokens are hidden unless `special`. The space that `encode` put first is removed."""
        pieces: list[bytes] = []
        for id in ids:
            piece = self.visible_piece(id, first=not pieces, special=special)
            if piece is not None:
                pieces.append(piece)
        return b"".join(pieces)

    def visible_piece(self, id: int, *, first: bool, special: bool = False) -> bytes | None:
        """The piece as `decode` outputs it, None for a hidden token.

        `first`: the first visible piece, which loses the space that `encode` puts before a text.
        """
        piece = self.piece(id)
        if id in self._hidden and not special:
            return None
        strip = first and self.vocab.add_space_prefix and self.vocab.types[id] == NORMAL
        return piece.removeprefix(b" ") if strip else piece

    def notes_on(self, text: str) -> list[str]:
        """What the user should know of the vocabulary, and of a text in it: a line each."""
        return [*self.notes, *self.text_notes(text)]

    def text_notes(self, text: str) -> list[str]:
        """What the user should know of a text: a line about its bytes that are not UTF-8, one about those left out."""
        count = len(UNDECODED.findall(text))
        kept = [f"the text is not all UTF-8: {counted(count, 'byte')} given to the model unchanged"] if count else []
        return [*kept, *self.lost_in(text)]

    def lost_in(self, text: str | Set[int]) -> list[str]:
        """A line that names the bytes of a text which the vocabulary lacks, so that `encode` leaves them out.

        The text may be given as the set of its bytes.
        """
        if not self._lacks:
            return []
        found = set(HALF_PAIR.sub("\ufffd", text).encode("utf-8", "surrogateescape")) if isinstance(text, str) else text
        lost = sorted(self._lacks & found)
        if not lost:
            return []
        names = ", ".join(f"0x{byte:02x}" for byte in lost[:8]) + ", ..." * (len(lost) > 8)
        return [f"the vocabulary has no token for {'bytes' if len(lost) > 1 else 'byte'} {names}: left out of the text"]

    @property
    def _lacks(self) -> frozenset[int]:
        """Bytes that no token spells."""
        return frozenset()

    def token_text(self, id: int) -> str:
        """The token's text in the vocabulary. Raises ValueError for an id outside the vocabulary."""
        if not 0 <= id < len(self.vocab):
            raise ValueError(f"token id {id} is outside the vocabulary of {len(self.vocab)} tokens")
        return self.vocab.tokens[id]

    @property
    def n_vocab(self) -> int:
        return len(self.vocab)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end generation: end of sequence, of turn and of message."""
        return self.vocab.stop_ids

    @property
    def bos_id(self) -> int | None:
        return self.vocab.special.get("bos")

    @property
    def unk_id(self) -> int | None:
        return self.vocab.special.get("unk")

    def _of_vocabulary(self, metadata: Mapping[str, Any]) -> list[Special]:
        vocab = self.vocab
        texts = [(id, vocab.tokens[id]) for id in vocab.of_type(CONTROL, USER_DEFINED, UNKNOWN) if vocab.tokens[id]]
        flags = strips(metadata)
        return [Special(i, text, vocab.types[i] == USER_DEFINED, **flags(text)) for i, text in texts]


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "surrogateescape")


class WordCache:
    """Token ids by word, computed by `encode_word` for a new word; emptied when full. Texts repeat few words often."""

    def __init__(self, encode_word: Callable[[str], list[int]]) -> None:
        self._encode_word = encode_word
        self._ids: dict[str, list[int]] = {}

    def encode(self, words: Iterable[str]) -> list[int]:
        """Token ids of all words in their order."""
        cache, ids = self._ids, list[int]()
        for word in words:
            found = cache.get(word)
            if found is None:
                found = self._encode_word(word)
                if len(word) <= CACHED_LENGTH:
                    if len(cache) >= CACHED_WORDS:
                        cache.clear()
                    cache[word] = found
            ids += found
        return ids
