"""Options that take one of a fixed set of values."""

from __future__ import annotations

from enum import StrEnum

Layout = StrEnum("Layout", ["md", "json", "jsonl", "csv"])  # of a table
Stored = StrEnum("Stored", ["auto", "f16", "bf16", "f32", "q8_0"])  # type of the matrices of a converted model
RowLayout = StrEnum("RowLayout", ["auto", "jsonl", "csv", "text"])  # of a batch
VectorLayout = StrEnum("VectorLayout", ["jsonl", "npy", "csv", "raw"])  # of vectors
Pooling = StrEnum("Pooling", ["mean", "cls", "last"])  # what becomes of the states of a text's tokens


class Think(StrEnum):  # values whose type is a literal
    """Whether a model thinks before it answers."""

    auto = "auto"
    on = "on"
    off = "off"


ShownThoughts = StrEnum("ShownThoughts", ["show", "fold", "hide"])
Rendering = StrEnum("Rendering", ["auto", "on", "off"])  # of Markdown
Transcript = StrEnum("Transcript", ["md", "json", "openai", "sharegpt"])  # how a chat is written to a file
Wrapping = StrEnum("Wrapping", ["on", "off"])  # of lines between words
AtEnd = StrEnum("AtEnd", ["ask", "drop", "summarize", "stop"])  # what to do when a chat no longer fits the context
Cache = StrEnum("Cache", ["f16", "q8_0"])  # KV cache types
Overflow = StrEnum("Overflow", ["error", "middle"])  # what to do with a prompt that is longer than the context
KeptPrompts = StrEnum("KeptPrompts", ["auto", "off"])  # whether prompts are kept on disk
Speculate = StrEnum("Speculate", ["auto", "off", "ngram", "draft", "mtp"])  # whether tokens are proposed
Weights = StrEnum("Weights", ["auto", "map", "copy"])  # where weights are kept
# A shell with a completion script; `words` is what the scripts themselves call.
ShellName = StrEnum("ShellName", ["bash", "zsh", "fish", "powershell", "words"])
