"""Tables of models. Draws nothing itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...text import format_bytes
from ..ui.tables import Table

if TYPE_CHECKING:
    from ...hub.catalog import CatalogEntry
    from ...hub.index import StoredModel


def available_table(entries: Sequence[CatalogEntry]) -> Table:
    """A row for each entry of the catalog; parameters in billions."""
    rows = [
        (
            ", ".join((e.name, *e.aliases)),
            f"{e.parameters:g} B" if e.parameters else "?",
            f"{e.context or 0:,}",
            e.license or "?",
            e.repo,
        )
        for e in entries
    ]
    return Table(("NAME", "PARAMETERS", "CONTEXT", "LICENSE", "REPOSITORY"), rows, right=(1, 2))


def installed_table(models: Sequence[StoredModel]) -> Table:
    """A row for each model of the store."""
    rows = [
        (m.name, format_bytes(m.size), m.quant or "?", m.architecture or "?", age(m.used), _shared(m)) for m in models
    ]
    return Table(("NAME", "SIZE", "QUANT", "ARCHITECTURE", "USED", "SHARED WITH"), rows, right=(1,))


def _shared(model: StoredModel) -> str:
    return "old revision" if model.old else ", ".join(model.shared)


def age(when: float) -> str:
    """How long ago a moment was: today, yesterday, 12 days ago, 3 months ago."""
    days = int(max(0.0, time.time() - when) // 86400)
    if days < 2:
        return ("today", "yesterday")[days]
    return f"{days} days ago" if days < 60 else f"{days // 30} months ago" if days < 730 else f"{days // 365} years ago"
