"""`/api/tags`, `/api/ps`, `/api/show` and `/api/version`: what is offered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version as installed
from math import isfinite
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...gguf import Array, open_gguf
from ..http.body import json_fields
from ..http.errors import ApiError
from ..model_pool import Entry
from ..service import Service
from .options import name_field

LISTED = 16  # items of an array of metadata that are shown
CAPABILITIES = {"text": "completion", "vectors": "embedding", "scores": "rerank"}


async def tags(service: Service, http: Request) -> Response:
    """All models."""
    return JSONResponse({"models": [_described(entry) for entry in service.pool.entries]})


async def running(service: Service, http: Request) -> Response:
    """The models that are loaded."""
    loaded = [entry for entry in service.pool.entries if entry.text or entry.vectors]
    return JSONResponse({"models": [{**_described(entry), "size_vram": 0} for entry in loaded]})


async def show(service: Service, http: Request) -> Response:
    """One model: its metadata, without long lists, and its chat template."""
    fields = await json_fields(http)
    name = name_field(fields)
    fields.unless("verbose", [False], "is not supported")
    fields.done()
    for entry in service.pool.entries:
        if entry.name == name:
            metadata = await asyncio.to_thread(_metadata, entry.path)
            template = metadata.pop("tokenizer.chat_template", "")
            return JSONResponse(
                {
                    "modified_at": _described(entry)["modified_at"],
                    "details": _details(entry),
                    "template": template if isinstance(template, str) else "",
                    "model_info": metadata,
                    "capabilities": _capabilities(entry, str(template)),
                }
            )
    raise ApiError(404, f"there is no model '{(name or '')[:64]}'")


async def version(service: Service, http: Request) -> Response:
    """The server's version."""
    return JSONResponse({"version": installed("llmlocal")})


def _described(entry: Entry) -> dict[str, Any]:
    about = entry.path.stat()
    changed = datetime.fromtimestamp(about.st_mtime, UTC).isoformat().replace("+00:00", "Z")
    named = {"name": entry.name, "model": entry.name, "modified_at": changed, "size": about.st_size, "digest": ""}
    return named | {"details": _details(entry)}


def _details(entry: Entry) -> dict[str, Any]:
    about = {"format": "gguf", "family": entry.family, "families": [entry.family], "parent_model": ""}
    return about | {"parameter_size": entry.size_label, "quantization_level": ""}


def _metadata(path: Path) -> dict[str, Any]:
    with open_gguf(path) as gguf:
        return as_json(gguf.metadata)


def as_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as JSON can hold it, without long lists; a float that is not finite is null."""
    plain = {key: value for key, value in metadata.items() if isinstance(value, str | int | float)}
    lists = {key: list(value) for key, value in metadata.items() if isinstance(value, Array) and len(value) <= LISTED}
    return {key: _finite(value) for key, value in (plain | lists).items()}


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _capabilities(entry: Entry, template: str) -> list[str]:
    found = [CAPABILITIES[use] for use in sorted(entry.uses)]
    return found + (["tools"] if "text" in entry.uses and "tool" in template else [])
