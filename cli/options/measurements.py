"""Measurements: speed, perplexity, comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..choices import Layout
from ..model_argument import ModelName
from ..option_groups import OptionGroup, option

BenchThreads = Annotated[
    list[str] | None,
    typer.Option(
        "-t", "--threads", metavar="N,N...", help="Thread counts to compare, or auto. Default: one per physical core."
    ),
]
Output = Annotated[Layout, typer.Option("-o", "--output", help="Output format: Markdown, JSON, JSON lines or CSV.")]
TextFile = Annotated[
    Path, typer.Argument(metavar="TEXT_FILE", help="The text to score; - reads stdin.", show_default=False)
]
Reference = Annotated[
    Path,
    typer.Argument(
        metavar="REF", parser=ModelName, help="The reference model, usually the F16 one.", show_default=False
    ),
]
Candidates = Annotated[
    list[Path],
    typer.Argument(
        metavar="CAND...", parser=ModelName, help="Quantized models to compare with it.", show_default=False
    ),
]


class TextChunks(OptionGroup):
    """How much of a text is measured."""

    ctx: int = option("-c", "--ctx", metavar="N", min=4, help="Chunk size in tokens.", default=512)
    chunks: int | None = option("--chunks", metavar="N", min=1, help="Use only the first N chunks. Default: all.")


class BenchTests(OptionGroup):
    """What is timed."""

    prompt: list[str] = option(
        "-p", "--prompt", metavar="N,N...", help="Prompt lengths in tokens; 0 skips these tests.", default=["512"]
    )
    gen: list[str] = option(
        "-n", "--gen", metavar="N,N...", help="Numbers of tokens to generate; 0 skips these tests.", default=["128"]
    )
    prompt_gen: list[str] | None = option(
        "-pg",
        metavar="P,N",
        help="Also time a prompt of P tokens and N generated tokens together; may be repeated. Default: off.",
    )
    depth: list[str] = option(
        "-d", "--depth", metavar="N,N...", help="Numbers of tokens already in the context.", default=["0"]
    )
    repeats: int = option("-r", "--repeats", metavar="N", min=1, help="Number of times to run each test.", default=5)
    roofline: bool = option(
        "--roofline", help="Measure this machine's peak speeds and say what limits each test.", default=False
    )


class EarlierResults(OptionGroup):
    """What the results are compared with."""

    baseline: Path | None = option(
        "--baseline", metavar="FILE", help="Compare with earlier results, written by -o json or -o jsonl."
    )
    fail_below: str | None = option(
        "--fail-below", metavar="P%", help="Exit with code 10 if a test is more than P percent slower."
    )


class ComparisonInput(OptionGroup):
    """What the models are compared on, and the limit."""

    text: Path | None = option(
        "--text", metavar="FILE", help="Text to measure on; - reads stdin. Default: a short built-in text."
    )
    prompt: str | None = option(
        "--prompt", metavar="TEXT", help="Prompt whose greedy answers are compared. Default: a built-in prompt."
    )
    max_kl: float | None = option(
        "--max-kl", metavar="X", min=0, help="Exit with code 10 if a mean KL divergence is above X nats per token."
    )
