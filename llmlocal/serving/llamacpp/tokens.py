"""`/tokenize`, `/detokenize` and `/apply-template`."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...text import readable
from ..http.body import json_fields, while_connected
from ..http.errors import refused
from ..openai.messages import messages_field, tools_field
from ..options import Options, thinking_fields
from ..service import Service

MOST_IDS = MOST_TEXT = 1 << 20  # of which the slowest takes seconds, and prompts wait for it


async def tokenize(service: Service, http: Request) -> Response:
    """Token ids of a text; with `with_pieces` their texts, too."""
    fields = await json_fields(http)
    fields.required("content")
    text, name = fields.text("content", MOST_TEXT) or "", fields.text("model")
    special, parse, pieces = (
        fields.flag("add_special"),
        fields.flag("parse_special"),
        fields.flag("with_pieces"),
    )
    fields.done()
    model = await service.pool.text_model(name)
    encode = partial(model.tokenizer.encode, text, add_special=special, parse_special=parse)
    tokens: list[Any] = await while_connected(http.receive, model.prepared(encode))
    if pieces:
        tokens = [{"id": id, "piece": model.tokenizer.piece(id).decode("utf-8", "replace")} for id in tokens]
    return JSONResponse({"tokens": tokens})


async def detokenize(service: Service, http: Request) -> Response:
    """The text of token ids."""
    fields = await json_fields(http)
    ids, name = fields.list("tokens", MOST_IDS) or [], fields.text("model")
    fields.done()
    model = await service.pool.text_model(name)
    n_vocab = model.tokenizer.n_vocab
    if not all(type(id) is int and 0 <= id < n_vocab for id in ids):
        raise refused("tokens", f"must be token ids, 0 to {n_vocab - 1}")
    text = await while_connected(http.receive, model.prepared(partial(model.tokenizer.decode, ids)))
    return JSONResponse({"content": text})


async def apply_template(service: Service, http: Request) -> Response:
    """The prompt of a conversation, as text."""
    fields = await json_fields(http)
    options, name = Options({}), fields.text("model")
    messages, tools = messages_field(fields), tools_field(fields)
    thinking_fields(fields, options)
    fields.done()
    model = await service.pool.text_model(name)
    prompt = await model.chat_prompt(messages, tools, options.think, options.effort)
    return JSONResponse({"prompt": readable(prompt.text)})
