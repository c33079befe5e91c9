"""Log probabilities of tokens in OpenAI's two notations."""

from __future__ import annotations

from codecs import getincrementaldecoder
from typing import Any

from ...generation.log_probabilities import ScoredToken
from ...tokenizer import Tokenizer


def chat_entry(token: ScoredToken, tokenizer: Tokenizer) -> dict[str, Any]:
    """An entry of `logprobs.content`."""
    best = [_named(id, logprob, tokenizer) for id, logprob in token.best]
    return {**_named(token.id, token.logprob, tokenizer), "top_logprobs": best}


def _named(id: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    piece = tokenizer.piece(id)
    return {"token": piece.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(piece)}


class CompletionLogprobs:
    """The `logprobs` of a completion: parallel lists."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._offset = tokenizer, 0
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def entries(self, tokens: list[ScoredToken]) -> dict[str, Any]:
        """Those of consecutive tokens."""
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(self._tokenizer.piece(token.id)))
        return {
            "tokens": [self._text(token.id) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{self._text(id): logprob for id, logprob in token.best} for token in tokens],
            "text_offset": offsets,
        }

    def _text(self, id: int) -> str:
        """A token's text; a part of a character as its bytes, so that two of them do not look the same."""
        piece = self._tokenizer.piece(id)
        try:
            return piece.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
