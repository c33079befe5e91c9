"""A query and a list of documents in the prompt of Jina Reranker 3 (Wang et al. 2025, arXiv 2509.25085).

Each document ends with a token whose last state stands for it, and the query, which comes again at the end, with
another. The prompt is part of the model: it is the one that the model was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..chat_format.chat_template import Rendered, Segment
from ..errors import BadFileError
from ..tokenizer import Tokenizer

DOCUMENT_TOKEN, QUERY_TOKEN = "<|embed_token|>", "<|rerank_token|>"
SYSTEM = """<|im_start|>system
You are a search relevance expert who can determine a ranking of the passages based on how relevant they are to the \
query. If the query is a question, how relevant a passage is depends on how well it answers the question. If not, try \
to analyze the intent of the query and assess how well each passage satisfies the intent. If an instruction is \
provided, you should follow the instruction when determining the ranking.<|im_end|>
<|im_start|>user
"""
ASKED = "I will provide you with {} passages, each indicated by a numerical identifier. "
ASKED += "Rank the passages based on their relevance to query: "
ANSWER = "\n</query><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


class ListPrompt:
    """The prompt in the tokens of a model. Raises BadFileError for a vocabulary that lacks one of its own."""

    def __init__(self, tokenizer: Tokenizer, path: str) -> None:
        self._tokenizer = tokenizer
        missing = next((token for token in (DOCUMENT_TOKEN, QUERY_TOKEN) if token not in tokenizer.vocab.ids), None)
        if missing:
            raise BadFileError(f"{path}: the vocabulary has no {missing}, which a reranker of lists reads")
        self._document, self._query = (tokenizer.vocab.ids[token] for token in (DOCUMENT_TOKEN, QUERY_TOKEN))

    def encode(self, query: str, documents: Sequence[str]) -> tuple[list[int], list[int]]:
        """Token ids of the prompt, and the places of the tokens that end the documents, in order, and of the query's.

        Query and documents never give special tokens; the two that end them are removed from them.
        """
        query = _plain(query)
        ids, rows = list[int](), list[int]()
        before = [Segment(SYSTEM + ASKED.format(len(documents)), False), Segment(query, True), Segment("\n", False)]
        for number, document in enumerate(documents):
            opening = Segment(f'<passage id="{number}">\n', False)
            ids += self._ids(*before, opening, Segment(_plain(document), True))
            rows.append(len(ids))
            ids.append(self._document)
            before = [Segment("\n</passage>\n", False)]
        ids += self._ids(*before, Segment("<query>\n", False), Segment(query, True))
        rows.append(len(ids))
        ids.append(self._query)
        return ids + self._ids(Segment(ANSWER, False)), rows

    def document_tokens(self, document: str, number: int) -> int:
        """Tokens that a document with its `number` adds to a prompt."""
        opening = Segment(f'\n</passage>\n<passage id="{number}">\n', False)
        return len(self._ids(opening, Segment(_plain(document), True))) + 1

    def _ids(self, *segments: Segment) -> list[int]:
        return Rendered(segments).encode(self._tokenizer, add_bos=False)


def _plain(text: str) -> str:
    return text.replace(QUERY_TOKEN, "").replace(DOCUMENT_TOKEN, "")
