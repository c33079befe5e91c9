"""Scores of how well texts answer a query, by a model that reads both together: a cross-encoder, a language model that
was trained to judge, or one that reads all texts at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import tokenizer as tokenizers
from ..encoder import Encoder
from ..errors import PromptTooLongError, UsageError
from ..gguf import GGUFFile
from ..gguf.model_file import open_model
from ..model_info.memory_limit import check_text_memory
from ..quant.jit.cpu import physical_cores
from ..tokenizer import Tokenizer
from .embedder import text_limit
from .heads import classifier, ranking_vectors
from .list_scores import MOST_DOCUMENTS, ListScores, check_projector, reads_lists
from .rank_prompt import RankPrompt, probability_of_yes, says_yes_or_no
from .settings import EmbeddingSettings, rank_pooling
from .text_model import TextModel, grouped
from .text_pair import pair_ids

Pair = tuple[list[int], list[int]]  # token ids of query and text, and the part that each belongs to


class Reranker(TextModel):
    """An open model that scores pairs of texts.

    Where the file holds a prompt for that, the score is the probability of yes, from 0 to 1; of a model that reads
    lists it is a cosine, from -1 to 1.
    """

    def __init__(self, gguf: GGUFFile, tokenizer: Tokenizer, encoder: Encoder, prompt: RankPrompt | None) -> None:
        super().__init__(gguf, tokenizer, encoder)
        self._prompt, self._judges = prompt, encoder.width > 1
        self._lists = ListScores(gguf, tokenizer, encoder) if reads_lists(gguf) else None

    @classmethod
    def open(
        cls, path: Path | str, *, n_ctx: int | None = None, n_threads: int | None = None, force: bool = False
    ) -> Reranker:
        """Open a GGUF file; the arguments are those of `Embedder.open`.

        Raises NotFoundError, BadFileError, ResourceError; UsageError for a model without a head that gives one score.
        """
        gguf = open_model(path)
        try:
            settings, tokenizer = EmbeddingSettings.read(gguf.metadata, str(gguf.path)), tokenizers.load(gguf.metadata)
            check_projector(gguf, tokenizer)
            pooling, longest = rank_pooling(gguf), text_limit(gguf, settings, n_ctx)
            if not force:
                check_text_memory(gguf.metadata, gguf.tensors, longest)
            threads = n_threads or physical_cores()
            if reads_lists(gguf):
                encoder = Encoder(gguf, "tokens", longest, threads, ranking_vectors, MOST_DOCUMENTS + 1)
                return cls(gguf, tokenizer, encoder, None)
            prompt = RankPrompt.read(gguf.metadata, str(gguf.path))
            labels = gguf.metadata.get(f"{gguf.metadata['general.architecture']}.classifier.output_labels")
            judges = prompt is not None and says_yes_or_no(labels)
            encoder = Encoder(gguf, pooling, longest, threads, classifier)
            if encoder.width != (2 if judges else 1):
                encoder.close()
                said = f"{gguf.path} sorts texts into {encoder.width} classes, it gives no single score"
                raise UsageError(said, "use a reranker")
        except BaseException:
            gguf.close()
            raise
        return cls(gguf, tokenizer, encoder, prompt)

    @property
    def limit(self) -> int:
        """Tokens of a pair at most, or of a text where many are read at once."""
        return self._lists.limit if self._lists else self.encoder.n_ctx

    def scores(self, query: bytes, texts: Iterable[bytes], *, truncate: bool = False) -> Iterator[list[float]]:
        """Scores of all texts in their order, in groups; the higher, the better a text answers the query.

        `truncate` cuts a text that is too long beside the query, which otherwise raises PromptTooLongError.
        """
        if self._lists:
            yield from self._lists.scores(query, list(texts), truncate=truncate)
            self.cut = self._lists.cut
            return
        if self._prompt:
            pairs = (self._prompted(self._prompt, query, text, i, truncate) for i, text in enumerate(texts))
        else:
            first = self.tokenizer.encode(query, add_special=False)
            ids = (self.tokenizer.encode(text, add_special=False) for text in texts)
            pairs = (self._pair(first, second, i, truncate) for i, second in enumerate(ids))
        for group in grouped(pairs, lambda pair: len(pair[0])):
            yield from self._run(group)

    def _run(self, pairs: list[Pair]) -> Iterator[list[float]]:
        for batch in self.encoder.batches([len(ids) for ids, _ in pairs]):
            rows = self.encoder.run([pairs[i][0] for i in batch], types=[pairs[i][1] for i in batch])
            yield (probability_of_yes(rows) if self._judges else rows[:, 0]).tolist()

    def _prompted(self, prompt: RankPrompt, query: bytes, text: bytes, number: int, truncate: bool) -> Pair:
        before, after = prompt.ids(self.tokenizer, query, text)
        most, n = self.encoder.n_ctx, len(before) + len(after)
        if n > most:
            without = len(prompt.ids(self.tokenizer, query, b"")[0]) + len(after)
            self._check_room(most - without, without, n, number, truncate)
            before = before[: most - len(after)]
        ids = before + after
        return ids, [0] * len(ids)

    def _pair(self, first: list[int], second: list[int], number: int, truncate: bool) -> Pair:
        without = len(pair_ids(self.tokenizer, first, [])[0])
        room = self.encoder.n_ctx - without
        if len(second) > room:
            self._check_room(room, without, without + len(second), number, truncate)
        return pair_ids(self.tokenizer, first, second[:room])

    def _check_room(self, room: int, without: int, n: int, number: int, truncate: bool) -> None:
        """Count a text that is cut to `room` tokens. Raises PromptTooLongError where it may not be, or is not enough.

        `n`: tokens of the pair, `without` its text.
        """
        most = self.encoder.n_ctx
        if room < 1:
            said = f"the query is {without} tokens with what stands around it, and the model reads {most} with a text"
            raise PromptTooLongError(said, "shorten the query")
        if not truncate:
            said = f"query and text {number + 1} are {n} tokens, the model reads {most}"
            raise PromptTooLongError(said, "--truncate cuts such texts")
        self.cut += 1
