"""`llmlocal compare`: what quantization costs and saves."""

from __future__ import annotations

from ..options.engine import Threads
from ..options.measurements import Candidates, ComparisonInput, Reference, TextChunks
from ..options.report import Report
from ..text_input import read_file
from ..ui import terminal
from ..ui.tables import show_charts
from ..views.comparison import divergence_charts, over_limit, record, table
from ..views.model import to_json


def compare(
    reference: Reference,
    candidates: Candidates,
    *,
    given: ComparisonInput,
    part: TextChunks,
    threads: Threads = None,
    report: Report,
) -> None:
    """Compare quantized models with their reference model.

    Shows size, memory and speed, and how much the predictions change on a text: perplexity, KL divergence (0: not at
    all; below 0.01: hard to notice; above 0.1: obvious), how often the most likely token is the same (top-1), and how
    many tokens of a greedy answer are the same (answer).

    \b
    Examples: llmlocal compare F16.gguf Q8_0.gguf Q4_K_M.gguf --text mine.txt
              llmlocal compare model-F16.gguf model-Q4_K_M.gguf --max-kl 0.05
    """
    from ...errors import ThresholdError
    from ...measure.comparison import PROMPT, CompareOptions, opened
    from ...measure.sample_text import sample_text

    text, limit = given.text, given.max_kl
    read = sample_text() if text is None else read_file(text)
    options = CompareOptions(part.ctx, part.chunks, threads, PROMPT if given.prompt is None else given.prompt)
    with opened(reference, candidates, options) as found, terminal.Screen(quiet=report.quiet) as screen:
        if text is None:
            screen.notes(["no --text: measured on a short built-in text; a text of your own kind says more"])
        for done, total in found.run(read):
            screen.progress("chunk", done, total)
        if report.as_json:
            terminal.say(to_json(**record(found, text)))
        else:
            screen.lines(table(found))
            show_charts(divergence_charts(found))
        if limit is not None and (over := over_limit(found, limit)):
            raise ThresholdError(f"KL divergence above {limit:g}: {', '.join(over)}")
