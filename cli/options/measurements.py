"""Measurements: speed, perplexity, comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..choices import Layout
from ..model_argument import ModelName
from ..option_groups import OptionGroup, option, parameter, positional
from .engine import MOST_CONTEXT

BenchThreads = Annotated[
    list[str] | None,
    parameter("-t --threads N,N...", "Thread counts to compare, or auto. Default: one per physical core."),
]
Output = Annotated[Layout, parameter("-o --output", "Output format: Markdown, JSON, JSON lines or CSV.")]
TextFile = Annotated[Path, positional("TEXT_FILE", "The text to score; - reads stdin.")]
Reference = Annotated[Path, positional("REF", "The reference model, usually the F16 one.", parser=ModelName)]
Candidates = Annotated[list[Path], positional("CAND...", "Quantized models to compare with it.", parser=ModelName)]


class TextChunks(OptionGroup):
    """How much of a text is measured."""

    ctx: int = option("-c --ctx N", "Chunk size in tokens.", min=4, max=MOST_CONTEXT, default=512)
    chunks: int | None = option("--chunks N", "Use only the first N chunks. Default: all.", min=1)


class BenchTests(OptionGroup):
    """What is timed."""

    prompt: list[str] = option("-p --prompt N,N...", "Prompt lengths in tokens; 0 skips these tests.", default=["512"])
    gen: list[str] = option("-n --gen N,N...", "Numbers of tokens to generate; 0 skips these tests.", default=["128"])
    prompt_gen: list[str] | None = option(
        "-pg P,N", "Also time a prompt of P tokens and N generated tokens together; may be repeated. Default: off."
    )
    depth: list[str] = option("-d --depth N,N...", "Numbers of tokens already in the context.", default=["0"])
    answer: int = option(
        "-a --answer N",
        "Also time answers of N tokens to a question on a text, with proposed tokens where they are faster, and tell "
        "how many were accepted and what was gained; 0 skips this test.",
        min=0,
        default=0,
    )
    repeats: int = option("-r --repeats N", "Number of times to run each test.", min=1, default=5)
    roofline: bool = option(
        "--roofline", "Measure this machine's peak speeds and say what limits each test.", default=False
    )


class EarlierResults(OptionGroup):
    """What the results are compared with."""

    baseline: Path | None = option("--baseline FILE", "Compare with earlier results, written by -o json or -o jsonl.")
    fail_below: str | None = option("--fail-below P%", "Exit with code 10 if a test is more than P percent slower.")


class ComparisonInput(OptionGroup):
    """What the models are compared on, and the limit."""

    text: Path | None = option("--text FILE", "Text to measure on; - reads stdin. Default: a short built-in text.")
    prompt: str | None = option(
        "--prompt TEXT", "Prompt whose greedy answers are compared. Default: a built-in prompt."
    )
    max_kl: float | None = option(
        "--max-kl X", "Exit with code 10 if a mean KL divergence is above X nats per token.", min=0
    )
