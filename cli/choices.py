"""Values of options that take one of a few words."""

from __future__ import annotations

from enum import StrEnum


class Layout(StrEnum):
    """How a table is written."""

    md = "md"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


class Stored(StrEnum):
    """What the matrices of a converted model are stored in."""

    auto = "auto"
    f16 = "f16"
    bf16 = "bf16"
    f32 = "f32"
    q8_0 = "q8_0"


class Think(StrEnum):
    """Whether a model thinks."""

    auto = "auto"
    on = "on"
    off = "off"


class ShownThoughts(StrEnum):
    """How thoughts are shown."""

    show = "show"
    fold = "fold"
    hide = "hide"


class Rendering(StrEnum):
    """Whether Markdown is drawn."""

    auto = "auto"
    on = "on"
    off = "off"


class AtEnd(StrEnum):
    """What to do when a conversation no longer fits its context."""

    ask = "ask"
    drop = "drop"
    summarize = "summarize"
    stop = "stop"


class Cache(StrEnum):
    """How keys and values are kept."""

    f16 = "f16"
    q8_0 = "q8_0"


class ShellName(StrEnum):
    """A shell that we have a completion script for; `words` is what the scripts ask."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"
    words = "words"
