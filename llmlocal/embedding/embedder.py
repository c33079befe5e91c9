"""A model that turns texts into vectors, in batches, in the order of the texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import tokenizer as tokenizers
from ..encoder import POOLINGS, Encoder, Rows
from ..errors import PromptTooLongError, UsageError
from ..gguf import GGUFFile
from ..gguf.model_file import open_model
from ..model_info.memory_limit import check_text_memory
from ..model_sizes import trained_context
from ..quant.jit.cpu import physical_cores
from ..tokenizer import Tokenizer
from .heads import projection
from .settings import EmbeddingSettings, default_pooling
from .text_model import TextModel, grouped

LONGEST = 8192  # tokens of a text at most, unless the caller asks for more


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors (texts, width) of consecutive texts, and their numbers of tokens."""

    rows: Rows
    tokens: list[int]


class Embedder(TextModel):
    """An open model that gives vectors."""

    def __init__(self, gguf: GGUFFile, tokenizer: Tokenizer, encoder: Encoder, settings: EmbeddingSettings) -> None:
        super().__init__(gguf, tokenizer, encoder)
        self.settings = settings

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        pooling: str | None = None,
        n_ctx: int | None = None,
        n_threads: int | None = None,
        force: bool = False,
    ) -> Embedder:
        """Open a GGUF file. `pooling` is mean, cls or last, by default what the file says.

        `n_ctx`: tokens of a text at most, by default what the model was trained on, LONGEST at most. `force`: also
        where memory seems too small. Raises NotFoundError, BadFileError, UsageError, ResourceError.
        """
        gguf = open_model(path)
        try:
            settings = EmbeddingSettings.read(gguf.metadata, str(gguf.path))
            pooling = pooling or settings.pooling
            if pooling is None and settings.ranks:
                raise UsageError(
                    f"{gguf.path} scores pairs of texts, it has no vectors", "use llmlocal rerank, or give --pooling"
                )
            pooling = pooling or default_pooling(gguf.metadata.get("general.architecture"), str(gguf.path))
            if pooling not in POOLINGS:
                raise UsageError(f"unknown pooling '{pooling}'", f"use one of: {', '.join(POOLINGS)}")
            tokenizer, longest = tokenizers.load(gguf.metadata), text_limit(gguf, settings, n_ctx)
            if not force:
                check_text_memory(gguf.metadata, gguf.tensors, longest)
            encoder = Encoder(gguf, pooling, longest, n_threads or physical_cores(), projection)
        except BaseException:
            gguf.close()
            raise
        return cls(gguf, tokenizer, encoder, settings)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.encoder.width

    def embed(
        self,
        texts: Iterable[str | bytes | list[int]],
        *,
        prompt: str = "",
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: bool = False,
    ) -> Iterator[Vectors]:
        """Vectors of all texts in their order, in groups; texts are read as they are needed.

        A list holds the token ids of a text, without special tokens.

        `prompt` goes before each text. `normalize` scales vectors to length 1, by default as the model's metadata says.
        `dimensions` keeps the first numbers of each vector. `truncate` cuts a text that is too long, which otherwise
        raises PromptTooLongError. Raises UsageError for `dimensions` that the model does not have.
        """
        if dimensions is not None and not 1 <= dimensions <= self.width:
            raise UsageError(f"dimensions is {dimensions}: the model's vectors have 1 to {self.width}")
        scaled = self.settings.normalize if normalize is None else normalize
        ids = (self._ids(prompt, text, i, truncate) for i, text in enumerate(texts))
        for group in grouped(ids, len):
            yield from self._vectors(group, scaled, dimensions)

    def _vectors(self, group: list[list[int]], scaled: bool, dimensions: int | None) -> Iterator[Vectors]:
        for batch in self.encoder.batches([len(ids) for ids in group]):
            rows = self.encoder.run([group[i] for i in batch])[:, :dimensions]
            if scaled:
                rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
            yield Vectors(np.ascontiguousarray(rows), [len(group[i]) for i in batch])

    def pieces(self, texts: Iterable[Iterable[bytes]], n: int) -> Iterator[list[int]]:
        """Token ids of each text, `n` at a time; a text comes in stretches, each of which is made tokens by itself."""
        for text in texts:
            held: list[int] = []
            for stretch in text:
                held += self.tokenizer.encode(stretch, add_special=False)
                whole = len(held) // n * n
                yield from (held[at : at + n] for at in range(0, whole, n))
                held = held[whole:]
            if held:
                yield held

    def _ids(self, prompt: str, text: str | bytes | list[int], number: int, truncate: bool) -> list[int]:
        """Token ids of a text with the special tokens around it."""
        before, after = self.tokenizer.vocab.prefix_and_suffix()
        if isinstance(text, list):
            ids = [*self.tokenizer.encode(prompt, add_special=False), *text] if prompt else text
        else:
            whole = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
            ids = self.tokenizer.encode(prompt.encode() + whole, add_special=False)
        room = self.encoder.n_ctx - len(before) - len(after)
        if len(ids) > room and not truncate:
            n, most = len(ids) + len(before) + len(after), self.encoder.n_ctx
            said = f"text {number + 1} is {n} tokens, {n - most} more than the {most} that the model reads"
            raise PromptTooLongError(said, "--truncate cuts such texts")
        if not before + ids + after:
            raise UsageError(f"text {number + 1} is empty", "leave it out")
        self.cut += len(ids) > room
        return before + ids[:room] + after


def text_limit(gguf: GGUFFile, settings: EmbeddingSettings, n_ctx: int | None) -> int:
    """Tokens of a text at most: what was asked for, by default what the model was made for.

    Raises UsageError for more than it was trained on.
    """
    trained = trained_context(gguf)
    if n_ctx is not None and n_ctx > trained:
        raise UsageError(f"the model reads {trained} tokens at most", f"use --ctx {trained} or less")
    return n_ctx or min(trained, settings.longest or trained, LONGEST)
