"""The page at `/`: one file, which loads nothing else and sends nothing elsewhere."""

from __future__ import annotations

import base64
import re
from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from .service import Service


@cache
def source() -> str:
    """The page."""
    return files(__package__).joinpath("page.html").read_text(encoding="utf-8")


@cache
def policy() -> str:
    """Its Content-Security-Policy: the page's own script and style run, by their digests, and nothing else."""

    def allowed(tag: str) -> str:
        found = re.findall(f"<{tag}>(.*?)</{tag}>", source(), re.DOTALL)
        digests = (base64.b64encode(sha256(text.encode()).digest()).decode() for text in found)
        return f"{tag}-src " + " ".join(f"'sha256-{digest}'" for digest in digests)

    parts = ["default-src 'none'", allowed("script"), allowed("style"), "connect-src 'self'", "base-uri 'none'"]
    return "; ".join([*parts, "form-action 'none'", "frame-ancestors 'none'"])


async def page(service: Service, http: Request) -> Response:
    """A chat for the browser."""
    headers = {"content-security-policy": policy(), "referrer-policy": "no-referrer"}
    return Response(source(), media_type="text/html; charset=utf-8", headers=headers)
