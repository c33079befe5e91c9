"""Query and text in the prompt of a language model that judges whether the one answers the other, as Qwen3-Reranker.

The prompt is in the file under `tokenizer.chat_template.rerank`, with {query} and {document} in the place of the texts;
the head has a row for each of the words yes and no. As in llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chat_format.chat_template import Rendered, Segment
from ..errors import BadFileError
from ..gguf import Array
from ..tokenizer import Tokenizer

KEY = "tokenizer.chat_template.rerank"
QUERY, DOCUMENT = "{query}", "{document}"
YES_NO = ["yes", "no"]


class RankPrompt:
    """The prompt of a file; its parts in order are texts of the prompt and, in their places, QUERY and DOCUMENT."""

    def __init__(self, parts: list[str]) -> None:
        self._parts = parts

    @classmethod
    def read(cls, metadata: Mapping[str, Any], path: str) -> RankPrompt | None:
        """The prompt that a file holds, None if it holds none. Raises BadFileError for one without both places."""
        text = metadata.get(KEY)
        if text is None:
            return None
        parts = re.split(r"(\{query\}|\{document\})", text) if isinstance(text, str) else []
        if parts[1::2] != [QUERY, DOCUMENT]:
            raise BadFileError(f"{path}: {KEY} must be a text with {QUERY} and then {DOCUMENT}, each once")
        return cls(parts)

    def ids(self, tokenizer: Tokenizer, query: bytes, text: bytes) -> tuple[list[int], list[int]]:
        """Token ids up to the end of `text`, and those behind it. The texts never give special tokens."""
        given = {QUERY: _decoded(query), DOCUMENT: _decoded(text)}
        segments = [Segment(given.get(part, part), part in given) for part in self._parts]
        before, after = Rendered(tuple(segments[:-1])), Rendered(tuple(segments[-1:]))
        return before.encode(tokenizer, add_bos=False), after.encode(tokenizer, add_bos=False)


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def says_yes_or_no(labels: Any) -> bool:
    """Whether these labels of a classifier are those of a model that judges."""
    return isinstance(labels, Array | list) and len(labels) == len(YES_NO) and list(labels) == YES_NO


def probability_of_yes(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of scores (texts, 2) of yes and no, the share of yes in their softmax (texts,)."""
    doubt = (scores[:, 1] - scores[:, 0]).astype(np.float64)
    out: NDArray[np.float64] = np.exp(-np.logaddexp(0, doubt))
    return out
