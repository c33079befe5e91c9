"""`/api/embed`, and `/api/embeddings`, which older clients ask."""

from __future__ import annotations

from time import perf_counter

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..http.body import json_fields
from ..http.errors import refused
from ..http.fields import Fields
from ..openai.vectors import MOST_TEXTS, vectors_of
from ..service import Service
from .generate import NANO
from .options import name_field


async def embed(service: Service, http: Request) -> Response:
    """Vectors of one or several texts. Those that are too long are cut unless `truncate` is false, as in Ollama."""
    began, fields = perf_counter(), await json_fields(http)
    given = fields.required("input")
    texts = [given] if isinstance(given, str) else fields.list("input", MOST_TEXTS) or []
    if not all(isinstance(text, str) for text in texts):
        raise refused("input", "must be a string or a list of strings")
    name, dimensions, cut = name_field(fields), fields.whole("dimensions", 1), fields.flag("truncate", True)
    _end(fields)
    found = await vectors_of(service, http, texts, name, dimensions, truncate=cut)
    seconds = perf_counter() - began
    return JSONResponse(
        {
            "model": found.model,
            "embeddings": [row.tolist() for row in found.rows],
            "total_duration": int(seconds * NANO),
            "load_duration": 0,
            "prompt_eval_count": found.tokens,
        }
    )


async def embeddings(service: Service, http: Request) -> Response:
    """The vector of one text."""
    fields = await json_fields(http)
    name, text = name_field(fields), fields.required_text("prompt")
    _end(fields)
    found = await vectors_of(service, http, [text], name, truncate=True)
    return JSONResponse({"embedding": found.rows[0].tolist()})


def _end(fields: Fields) -> None:
    """Accept what would only say how Ollama's own engine is run."""
    fields.mapping("options")
    fields.ignore("keep_alive")
    fields.done()
