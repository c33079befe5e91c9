"""How a server is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PARALLEL = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of all models of a server; None stands for the default of a session.

    `n_ctx`: tokens of each request's context; `parallel`: requests that a model answers at once; `queue`: those that
    may wait; `idle_unload`: seconds after which an unused model is closed, None for never; `prompt_cache`: whether
    prompts are kept on disk; `speculate`, `draft` and `lora`: as `Session.open`.
    """

    n_ctx: int | None = None
    n_threads: int | None = None
    parallel: int = PARALLEL
    queue: int = 64
    kv_type: str = "f16"
    weights: str = "auto"
    speculate: str = "off"
    force: bool = False
    template: str | None = None
    idle_unload: float | None = None
    prompt_cache: bool = False
    draft: Path | str | None = None
    lora: tuple[tuple[Path, float], ...] = ()
