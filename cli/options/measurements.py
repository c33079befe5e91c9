"""Measurements: speed, perplexity, comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from ..choices import Layout
from ..model_argument import ModelName

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


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChunks:
    """How much of a text is measured."""

    ctx: Annotated[int, typer.Option("-c", "--ctx", metavar="N", min=4, help="Chunk size in tokens.")] = 512
    chunks: Annotated[
        int | None, typer.Option("--chunks", metavar="N", min=1, help="Use only the first N chunks. Default: all.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTests:
    """What is timed."""

    prompt: Annotated[
        list[str],
        typer.Option("-p", "--prompt", metavar="N,N...", help="Prompt lengths in tokens; 0 skips these tests."),
    ] = field(default_factory=lambda: ["512"])
    gen: Annotated[
        list[str],
        typer.Option("-n", "--gen", metavar="N,N...", help="Numbers of tokens to generate; 0 skips these tests."),
    ] = field(default_factory=lambda: ["128"])
    prompt_gen: Annotated[
        list[str] | None,
        typer.Option(
            "-pg",
            metavar="P,N",
            help="Also time a prompt of P tokens and N generated tokens together; may be repeated. Default: off.",
        ),
    ] = None
    depth: Annotated[
        list[str], typer.Option("-d", "--depth", metavar="N,N...", help="Numbers of tokens already in the context.")
    ] = field(default_factory=lambda: ["0"])
    repeats: Annotated[
        int, typer.Option("-r", "--repeats", metavar="N", min=1, help="Number of times to run each test.")
    ] = 5
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Measure this machine's peak speeds and say what limits each test.")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierResults:
    """What the results are compared with."""

    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", metavar="FILE", help="Compare with earlier results, written by -o json or -o jsonl."
        ),
    ] = None
    fail_below: Annotated[
        str | None,
        typer.Option("--fail-below", metavar="P%", help="Exit with code 10 if a test is more than P percent slower."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonInput:
    """What the models are compared on, and the limit."""

    text: Annotated[
        Path | None,
        typer.Option(
            "--text", metavar="FILE", help="Text to measure on; - reads stdin. Default: a short built-in text."
        ),
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", metavar="TEXT", help="Prompt whose greedy answers are compared. Default: a built-in prompt."
        ),
    ] = None
    max_kl: Annotated[
        float | None,
        typer.Option(
            "--max-kl", metavar="X", min=0, help="Exit with code 10 if a mean KL divergence is above X nats per token."
        ),
    ] = None
