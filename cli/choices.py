"""Options that take one of a fixed set of values."""

from __future__ import annotations

from enum import StrEnum


class Layout(StrEnum):
    """How a table is written."""

    md = "md"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class Stored(StrEnum):
    """Type of the weight matrices of a converted model."""

    auto = "auto"
    f16 = "f16"
    bf16 = "bf16"
    f32 = "f32"
    q8_0 = "q8_0"


class Think(StrEnum):
    """Whether a model thinks before it answers."""

    auto = "auto"
    on = "on"
    off = "off"


class ShownThoughts(StrEnum):
    """How thinking is shown."""

    show = "show"
    fold = "fold"
    hide = "hide"


class Rendering(StrEnum):
    """Whether Markdown is rendered."""

    auto = "auto"
    on = "on"
    off = "off"


class AtEnd(StrEnum):
    """What to do when a chat no longer fits the context."""

    ask = "ask"
    drop = "drop"
    summarize = "summarize"
    stop = "stop"


class Cache(StrEnum):
    """KV cache types."""

    f16 = "f16"
    q8_0 = "q8_0"


class Weights(StrEnum):
    """Where weights are kept."""

    auto = "auto"
    map = "map"
    copy = "copy"


class ShellName(StrEnum):
    """A shell with a completion script; `words` is what the scripts themselves call."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"
    words = "words"
