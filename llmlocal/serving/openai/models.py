"""`/v1/models`: what is offered."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..http.errors import ApiError
from ..model_pool import Entry
from ..service import Service


async def models(service: Service, http: Request) -> Response:
    """All models."""
    return JSONResponse({"object": "list", "data": [_described(entry) for entry in service.pool.entries]})


async def one_model(service: Service, http: Request) -> Response:
    """One model by its name."""
    name = http.path_params["name"]
    for entry in service.pool.entries:
        if entry.name == name:
            return JSONResponse(_described(entry))
    raise ApiError(404, f"there is no model '{name[:64]}'", "model", "model_not_found")


def _described(entry: Entry) -> dict[str, Any]:
    about = {"id": entry.name, "object": "model", "created": entry.created, "owned_by": "llmlocal"}
    return {**about, "uses": sorted(entry.uses), "loaded": bool(entry.text or entry.vectors)}
