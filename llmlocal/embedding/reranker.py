"""Scores of how well texts answer a query, by a model that reads both together (a cross-encoder)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import tokenizer as tokenizers
from ..encoder import Encoder
from ..errors import PromptTooLongError, UsageError
from ..gguf import open_gguf
from ..model_info.memory_limit import check_memory
from ..quant.jit.cpu import physical_cores
from .embedder import text_limit
from .heads import classifier
from .settings import EmbeddingSettings, rank_pooling
from .text_model import TextModel, grouped
from .text_pair import pair_ids


class Reranker(TextModel):
    """An open model that scores pairs of texts."""

    @classmethod
    def open(
        cls, path: Path | str, *, n_ctx: int | None = None, n_threads: int | None = None, force: bool = False
    ) -> Reranker:
        """Open a GGUF file; the arguments are those of `Embedder.open`.

        Raises NotFoundError, BadFileError, ResourceError; UsageError for a model without a head that gives one score.
        """
        gguf = open_gguf(path)
        try:
            settings, tokenizer = EmbeddingSettings.read(gguf.metadata, str(gguf.path)), tokenizers.load(gguf.metadata)
            pooling, longest = rank_pooling(gguf), text_limit(gguf, settings, n_ctx)
            if not force:
                check_memory(gguf.metadata, gguf.tensors, longest)
            encoder = Encoder(gguf, pooling, longest, n_threads or physical_cores(), classifier)
            if encoder.width != 1:
                encoder.close()
                said = f"{gguf.path} sorts texts into {encoder.width} classes, it gives no single score"
                raise UsageError(said, "use a reranker")
        except BaseException:
            gguf.close()
            raise
        return cls(gguf, tokenizer, encoder)

    def scores(self, query: bytes, texts: Iterable[bytes], *, truncate: bool = False) -> Iterator[list[float]]:
        """Scores of all texts in their order, in groups; the higher, the better a text answers the query.

        `truncate` cuts a text that is too long beside the query, which otherwise raises PromptTooLongError.
        """
        first = self.tokenizer.encode(query, add_special=False)
        ids = (self.tokenizer.encode(text, add_special=False) for text in texts)
        pairs = (self._pair(first, second, i, truncate) for i, second in enumerate(ids))
        for group in grouped(pairs, lambda pair: len(pair[0])):
            yield from self._run(group)

    def _run(self, pairs: list[tuple[list[int], list[int]]]) -> Iterator[list[float]]:
        for batch in self.encoder.batches([len(ids) for ids, _ in pairs]):
            rows = self.encoder.run([pairs[i][0] for i in batch], types=[pairs[i][1] for i in batch])
            yield rows[:, 0].tolist()

    def _pair(self, first: list[int], second: list[int], number: int, truncate: bool) -> tuple[list[int], list[int]]:
        most, special = self.encoder.n_ctx, len(pair_ids(self.tokenizer, [], [])[0])
        room = most - special - len(first)
        if room < 1:
            said = f"the query is {len(first)} tokens, and the model reads {most} with a text beside it"
            raise PromptTooLongError(said, "shorten the query")
        if len(second) > room and not truncate:
            said = (
                f"query and text {number + 1} are {special + len(first) + len(second)} tokens, the model reads {most}"
            )
            raise PromptTooLongError(said, "--truncate cuts such texts")
        self.cut += len(second) > room
        return pair_ids(self.tokenizer, first, second[:room])
