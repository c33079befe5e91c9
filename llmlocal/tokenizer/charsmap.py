"""SentencePiece's precompiled normalization map: byte sequences and their replacements.

The map is a trie in a compact double array (S. Kanda, Space- and Time-Efficient String Dictionaries, 2018) followed by
the replacements.
"""

from __future__ import annotations

from array import array
from sys import byteorder

from ..errors import BadFileError

LONGEST, LONGEST_REPLACEMENT = 64, 1024  # characters, bytes; real maps have some 10 and 50
REMEMBERED_PAIRS = 50_000


class Charsmap:
    """A normalization map. Raises BadFileError for an invalid one, in the constructor or in `replace`."""

    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[:4], "little")
        if len(data) < 4 or size % 4 or size + 4 >= len(data):
            raise BadFileError(f"tokenizer.ggml.precompiled_charsmap: a trie of {size} bytes in {len(data)}")
        self._nodes = array("I", data[4 : 4 + size])
        if byteorder == "big":
            self._nodes.byteswap()
        self._replacements = data[4 + size :]
        self._pairs: dict[str, tuple[int, str]] = {}

    def replace(self, text: str) -> str:
        """`text` with the longest replaceable sequence at each place replaced, from left to right."""
        pieces, at, pairs = [], 0, self._pairs
        while at < len(text):
            pair = text[at : at + 2]
            found = pairs.get(pair)
            if found is None:
                found, decided = self._longest(text, at)
                if decided:
                    if len(pairs) >= REMEMBERED_PAIRS:
                        pairs.clear()
                    pairs[pair] = found
            at += found[0]
            pieces.append(found[1])
        return "".join(pieces)

    def _longest(self, text: str, at: int) -> tuple[tuple[int, str], bool]:
        """(Number of characters at `at`, their replacement), and whether two characters sufficed to decide."""
        node, best = self._base(0), (1, text[at])
        for end in range(at, len(text)):
            if end - at == LONGEST:
                raise BadFileError(f"tokenizer.ggml.precompiled_charsmap: sequences of more than {LONGEST} characters")
            for byte in text[end].encode("utf-8", "surrogateescape"):
                if not byte:
                    return best, end - at < 2
                node ^= byte
                if self._node(node) & 0x800000FF != byte:
                    return best, end - at < 2
                leaf = self._node(node) >> 8 & 1
                node ^= self._base(node)
            if leaf:
                best = (end + 1 - at, self._replacement(self._node(node) & 0x7FFFFFFF))
        return best, False

    def _base(self, index: int) -> int:
        node = self._node(index)
        return (node >> 10) << ((node & 0x200) >> 6)

    def _node(self, index: int) -> int:
        if index >= len(self._nodes):
            raise BadFileError(f"tokenizer.ggml.precompiled_charsmap: node {index} of {len(self._nodes)}")
        return self._nodes[index]

    def _replacement(self, start: int) -> str:
        end = self._replacements.find(b"\0", start)
        if end - start > LONGEST_REPLACEMENT:
            raise BadFileError(f"tokenizer.ggml.precompiled_charsmap: a replacement of {end - start} bytes")
        if end < 0:
            raise BadFileError(f"tokenizer.ggml.precompiled_charsmap: no replacement at {start}")
        return self._replacements[start:end].decode("utf-8", "replace")
