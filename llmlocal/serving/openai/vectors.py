"""`/v1/embeddings` and `/v1/rerank`: vectors of texts, and texts in the order in which they answer a query."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...embedding.embedder import Embedder
from ...embedding.reranker import Reranker
from ...errors import PromptTooLongError
from ..http.body import json_fields, while_connected
from ..http.errors import ApiError, refused
from ..options import HARMLESS
from ..service import Service
from .completions import prompts_field

MOST_TEXTS = 2048


class Vectors(NamedTuple):
    """Vectors of texts, (size,) float32 each: by which model, and of how many tokens in all."""

    model: str
    rows: list[np.ndarray[Any, Any]]
    tokens: int


async def embeddings(service: Service, http: Request) -> Response:
    """Vectors of one or several texts."""
    fields = await json_fields(http)
    texts = prompts_field(fields, "input", MOST_TEXTS)
    as_text = fields.choice("encoding_format", ("float", "base64")) != "base64"
    dimensions, name = fields.whole("dimensions", 1), fields.text("model")
    fields.ignore(*HARMLESS)
    fields.done()
    found = await vectors_of(service, http, texts, name, dimensions)
    data = [
        {"object": "embedding", "index": i, "embedding": _encoded(row, as_text)} for i, row in enumerate(found.rows)
    ]
    usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
    return JSONResponse({"object": "list", "model": found.model, "data": data, "usage": usage})


async def vectors_of(
    service: Service,
    http: Request,
    texts: Sequence[str | list[int]],
    name: str | None,
    dimensions: int | None = None,
    *,
    truncate: bool = False,
) -> Vectors:
    """Vectors of texts or token ids, by the model called `name`; `truncate` cuts those that are too long.

    Raises ApiError for ids that are none, and for a text that is too long; ClientGoneError.
    """
    loaded = await service.pool.vector_model(name, "vectors")
    model = loaded.model
    assert isinstance(model, Embedder)
    n_vocab = model.tokenizer.n_vocab
    if any(isinstance(text, list) and max(text) >= n_vocab for text in texts):
        raise refused("input", f"token ids must be 0 to {n_vocab - 1}")
    try:
        groups = model.embed(texts, prompt=model.settings.prompt(None), dimensions=dimensions, truncate=truncate)
        found = await while_connected(http.receive, loaded.all(groups))
    except PromptTooLongError as error:
        raise ApiError(400, str(error), "input", "context_length_exceeded") from None
    rows = [row for group in found for row in group.rows]
    return Vectors(loaded.name, rows, sum(n for group in found for n in group.tokens))


def _encoded(row: np.ndarray[Any, Any], as_text: bool) -> Any:
    return row.tolist() if as_text else base64.b64encode(row.astype("<f4").tobytes()).decode()


async def rerank(service: Service, http: Request) -> Response:
    """Documents with their scores, the best first: the form of Jina's and Cohere's APIs."""
    fields = await json_fields(http)
    query, name = fields.required_text("query"), fields.text("model")
    documents = (
        [_document(item) for item in fields.required("documents")] if fields.list("documents", MOST_TEXTS) else []
    )
    top, whole = fields.whole("top_n", 1), fields.flag("return_documents")
    fields.ignore(*HARMLESS)
    fields.done()
    if not documents:
        raise refused("documents", "is empty")
    loaded = await service.pool.vector_model(name, "scores")
    assert isinstance(loaded.model, Reranker)
    try:
        groups = loaded.model.scores(query.encode(), [text.encode() for text in documents])
        found = await while_connected(http.receive, loaded.all(groups))
    except PromptTooLongError as error:
        raise ApiError(400, str(error), "documents", "context_length_exceeded") from None
    scores = [score for group in found for score in group]
    best = sorted(range(len(scores)), key=lambda i: -scores[i])[:top]
    results = [
        {"index": i, "relevance_score": scores[i], **({"document": {"text": documents[i]}} if whole else {})}
        for i in best
    ]
    return JSONResponse({"object": "list", "model": loaded.name, "results": results})


def _document(item: Any) -> str:
    if isinstance(item, dict):
        item = item.get("text")
    if not isinstance(item, str):
        raise refused("documents", "must be strings, or objects with a text")
    return item
