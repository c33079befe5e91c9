"""Vectors, rankings and masked words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..choices import Pooling, VectorLayout
from ..option_groups import OptionGroup, argument, option, parameter, positional
from .engine import MOST_CONTEXT, Threads, Yes
from .prompts import Force, OutputFile
from .report import NoStdin

Split = Annotated[
    str,
    parameter(
        "--split line|paragraph|N", "What is a text in files and stdin: a line, a paragraph, or N tokens of the whole."
    ),
]
Query = Annotated[str, positional("QUERY", "What the texts should answer.")]
Top = Annotated[int | None, parameter("--top K", "Print only the K best. Default: all.", min=1)]
MaskedText = Annotated[
    str | None,
    positional("TEXT", "A text with one or more gaps, written [MASK]; - reads it from stdin. Default: stdin."),
]
TopWords = Annotated[int, parameter("--top K", "How many words to print for each gap.", min=1)]


class VectorOptions(OptionGroup):
    """How a text becomes a vector."""

    pooling: Pooling | None = option(
        "--pooling",
        "The vector of a text: the mean of its tokens, the first (cls) or the last. Default: the model's own.",
    )
    normalize: bool | None = option(
        "--normalize/--no-normalize", "Scale vectors to length 1. Default: as the model says."
    )
    dimensions: int | None = option(
        "--dimensions N", "Keep the first N numbers of each vector. Default: all of them.", min=1
    )
    prompt_name: str | None = option(
        "--prompt-name NAME", "Put this prompt of the model before each text. Default: the model's own."
    )


class TextSource(OptionGroup):
    """The texts, one each."""

    text: list[str] | None = argument("TEXT...", "Texts, one each; - reads lines from stdin. Default: stdin.")
    file: list[Path] | None = option("-f --file FILE", "Read texts from this file, a line each; may be repeated.")
    no_stdin: NoStdin = False


class VectorFile(OptionGroup):
    """Where vectors go, and how they are written."""

    output: OutputFile = None
    layout: VectorLayout = option(
        "--format",
        "JSON lines, a NumPy file, comma-separated numbers, or raw little-endian float32.",
        default=VectorLayout.jsonl,
    )
    force: Force = False


class EncoderOptions(OptionGroup):
    """How an encoder is opened, and which texts it takes."""

    ctx: int | None = option(
        "-c --ctx N", "Tokens of a text at most. Default: the model's own, at most 8192.", min=1, max=MOST_CONTEXT
    )
    truncate: bool = option("--truncate", "Cut texts that are too long. By default they are an error.", default=False)
    threads: Threads = None
    yes: Yes = False
