"""Scores of a list of documents that a model reads at once, as Jina Reranker 3: last but not late interaction.

The score is the cosine of the vectors of query and document. More documents than one prompt holds are read in blocks;
the vectors of the query from all blocks are averaged, weighted by the best score of each, as the authors do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..encoder import Encoder
from ..errors import PromptTooLongError, UsageError
from ..gguf import GGUFFile
from ..layers.metadata import Config
from ..tokenizer import Tokenizer
from .list_prompt import QUERY_TOKEN, ListPrompt

MOST_DOCUMENTS = 125  # of a block
LONGEST_QUERY, LONGEST_DOCUMENT = 512, 2048  # tokens, where a file does not say
SPARE = 8  # tokens that the estimate of a prompt may be short of
Vectors = NDArray[np.float64]


class Document(NamedTuple):
    """A document, cut if need be, and its number of tokens."""

    text: str
    tokens: int


def reads_lists(gguf: GGUFFile) -> bool:
    """Whether a reranker compares vectors that two layers make of its states, of all documents at once."""
    return {"dense_2.weight", "dense_3.weight"} <= gguf.tensors.keys()


def check_projector(gguf: GGUFFile, tokenizer: Tokenizer) -> None:
    """Raises UsageError for a reranker of lists without these layers, as its authors' GGUF files are."""
    if QUERY_TOKEN in tokenizer.vocab.ids and not reads_lists(gguf):
        said = f"{gguf.path} lacks the projector of Jina Reranker, which is published in a file of its own"
        raise UsageError(said, "convert the folder of the model instead: llmlocal convert FOLDER OUT")


class ListScores:
    """Scores by an open model; `cut` counts the texts that were cut, `limit` is the most tokens of a text."""

    def __init__(self, gguf: GGUFFile, tokenizer: Tokenizer, encoder: Encoder) -> None:
        """Raises BadFileError for metadata or a vocabulary that is not that of such a model."""
        c = Config(gguf.metadata, str(gguf.metadata["general.architecture"]), str(gguf.path))
        self._tokenizer, self._encoder, self.cut = tokenizer, encoder, 0
        self._prompt = ListPrompt(tokenizer, str(gguf.path))
        self._longest_query = c.integer("rerank.query_length", 1, 1 << 31, LONGEST_QUERY)
        self._longest = c.integer("rerank.document_length", 1, 1 << 31, LONGEST_DOCUMENT)
        self.limit = min(self._longest, encoder.n_ctx)

    def scores(self, query: bytes, documents: Sequence[bytes], *, truncate: bool) -> Iterator[list[float]]:
        """Scores (-1 to 1) of all documents in one list, after an empty one for each block that has been read.

        `truncate` cuts a query or document that is too long, which otherwise raises PromptTooLongError.
        """
        asked = self._fitted(_decoded(query), "the query", self._longest_query, truncate)
        fixed = len(self._prompt.encode(asked.text, [])[0]) + SPARE
        most = min(self._longest, self._encoder.n_ctx - fixed - self._prompt.document_tokens("", MOST_DOCUMENTS))
        self.limit = most
        if most < 1:
            said = f"the query is {fixed} tokens with what stands around it, the model reads {self._encoder.n_ctx}"
            raise PromptTooLongError(f"{said} with a text", "shorten the query")
        fitted = [self._fitted(_decoded(d), f"text {i + 1}", most, truncate) for i, d in enumerate(documents)]
        queries, found, weights = list[Vectors](), list[Vectors](), list[float]()
        for block in self._blocks(asked, fitted, fixed):
            vectors = self._vectors(asked.text, block)
            queries.append(vectors[-1])
            found.append(vectors[:-1])
            weights.append((1 + cosines(vectors[-1], vectors[:-1]).max()) / 2)
            yield []
        if found:
            mean = np.average(queries, axis=0, weights=weights if sum(weights) else None)
            yield cosines(mean, np.concatenate(found)).tolist()

    def _fitted(self, text: str, name: str, most: int, truncate: bool) -> Document:
        """A text of at most `most` tokens. Raises PromptTooLongError for one that is longer, unless it may be cut."""
        ids = self._tokenizer.encode(text, add_special=False)
        if len(ids) <= most:
            return Document(text, len(ids))
        if not truncate:
            raise PromptTooLongError(
                f"{name} is {len(ids)} tokens, the model reads {most}", "--truncate cuts such texts"
            )
        self.cut += 1
        return Document(self._tokenizer.decode(ids[:most], special=True), most)

    def _blocks(self, query: Document, documents: Sequence[Document], fixed: int) -> Iterator[list[str]]:
        """Documents of one prompt each, of which the query stands `fixed` tokens without documents.

        A block ends where a document would not fit and, as the authors' do, where a long one might not.
        """
        n_ctx, block, used, plain = self._encoder.n_ctx, list[str](), fixed, 2 * query.tokens
        kept_free = min(self._longest, n_ctx // 4)  # in a short context only a part of it
        for document in documents:
            tokens = self._prompt.document_tokens(document.text, len(block))
            if block and used + tokens > n_ctx:
                yield block
                block, used, plain = [], fixed, 2 * query.tokens
            block.append(document.text)
            used, plain = used + tokens, plain + document.tokens
            if len(block) == MOST_DOCUMENTS or n_ctx - plain <= kept_free:
                yield block
                block, used, plain = [], fixed, 2 * query.tokens
        if block:
            yield block

    def _vectors(self, query: str, documents: list[str]) -> Vectors:
        """Vectors (documents + 1, width) of the documents, and of the query."""
        ids, rows = self._prompt.encode(query, documents)
        return self._encoder.run([ids], rows=rows).astype(np.float64)


def cosines(one: Vectors, many: Vectors) -> Vectors:
    """Cosines (n,) of a vector (width,) and others (n, width); 0 for one of length 0."""
    lengths = np.linalg.norm(one) * np.linalg.norm(many, axis=1)
    out: Vectors = many @ one / np.maximum(lengths, np.finfo(np.float64).tiny)
    return out


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
