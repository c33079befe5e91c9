"""Words for the masked places of a text, by an encoder with the head that it was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import tokenizer as tokenizers
from ..encoder import Encoder
from ..errors import PromptTooLongError, UsageError
from ..gguf.model_file import open_model
from ..quant.jit.cpu import physical_cores
from ..tokenizer import Tokenizer
from .embedder import text_limit
from .heads import masked_words
from .settings import EmbeddingSettings

MASK = "[MASK]"  # how every model's mask may be written
MOST_MASKS = 64


class Word(NamedTuple):
    """A token that may stand in a masked place, and its probability there."""

    id: int
    text: str
    probability: float


def fill(path: Path | str, text: str, *, top: int, n_threads: int | None = None) -> list[list[Word]]:
    """For each masked place of `text` the `top` likeliest words, best first.

    A place is written [MASK], or as the model's own mask token. Raises NotFoundError, BadFileError; UsageError for a
    text without a mask, and for a model without a head that predicts masked words; PromptTooLongError.
    """
    with open_model(path) as gguf:
        settings, tokenizer = EmbeddingSettings.read(gguf.metadata, str(gguf.path)), tokenizers.load(gguf.metadata)
        mask = tokenizer.vocab.special.get("mask")
        if mask is None:
            raise UsageError(f"{gguf.path} has no mask token, it fills no gaps", "use a model such as BERT or RoBERTa")
        ids = tokenizer.encode_parts(_parts(text, tokenizer.token_text(mask), mask))
        places, most = [i for i, id in enumerate(ids) if id == mask], text_limit(gguf, settings, None)
        if not 1 <= len(places) <= MOST_MASKS:
            raise UsageError(f"the text has {len(places)} masks, must have 1 to {MOST_MASKS}", f"write a gap as {MASK}")
        if len(ids) > most:
            raise PromptTooLongError(f"the text is {len(ids)} tokens, the model reads {most}", "shorten it")
        encoder = Encoder(gguf, "tokens", most, n_threads or physical_cores(), masked_words, MOST_MASKS)
        try:
            logits = encoder.run([ids], rows=places).astype(np.float64)
        finally:
            encoder.close()
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return [_best(tokenizer, row / row.sum(), top) for row in weights]


def _parts(text: str, own: str, mask: int) -> list[str | int]:
    """The text with masks as ids; the space before a mask belongs to it."""
    pieces = text.replace(own, MASK).split(MASK)
    parts: list[str | int] = [pieces[0].rstrip()]
    for i, piece in enumerate(pieces[1:]):
        last = i == len(pieces) - 2
        parts += [mask, piece if last else piece.rstrip()]
    return [part for part in parts if part != ""]


def _best(tokenizer: Tokenizer, probabilities: np.ndarray, top: int) -> list[Word]:
    order = np.argsort(-probabilities, kind="stable")[:top].tolist()
    return [Word(id, tokenizer.piece(id).decode("utf-8", "replace").strip(), float(probabilities[id])) for id in order]
