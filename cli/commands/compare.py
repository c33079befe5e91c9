"""`llmlocal compare`: what fewer bits cost."""

from __future__ import annotations

from .. import options as o
from ..text_input import read_file
from ..ui import terminal as ui
from ..views.comparison import above, bars, record, table
from ..views.model import to_json


def compare(
    reference: o.Reference,
    candidates: o.Candidates,
    text: o.ComparedText = None,
    prompt: o.GreedyPrompt = None,
    max_kl: o.MaxKl = None,
    ctx: o.ChunkSize = 512,
    chunks: o.Chunks = None,
    threads: o.Threads = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Tell what a model loses in fewer bits, on your text: KL divergence, perplexity, answers; and what it gains.

    KL divergence says how far the predictions move: 0 is not at all, below 0.01 is hard to notice, above 0.1 is plain.
    answer: how many tokens of a greedy answer stay the same.

    \b
    Examples: llmlocal compare model-F16.gguf model-Q8_0.gguf model-Q4_K_M.gguf --text mine.txt
              llmlocal compare model-F16.gguf model-Q4_K_M.gguf --max-kl 0.05
    """
    from ...errors import ThresholdError
    from ...measure.comparison import PROMPT, CompareOptions, opened
    from ...measure.sample_text import sample_text

    read = sample_text() if text is None else read_file(text)
    options = CompareOptions(ctx, chunks, threads, PROMPT if prompt is None else prompt)
    with opened(reference, candidates, options) as found, ui.Screen(quiet=quiet) as screen:
        if text is None:
            screen.notes(["no --text: measured on a short text of ours; what counts is what you use the model for"])
        for done, total in found.run(read):
            screen.progress("chunk", done, total)
        if as_json:
            ui.say(to_json(**record(found, text)))
        else:
            screen.lines(table(found))
            screen.bars(bars(found))
        if max_kl is not None and (over := above(found, max_kl)):
            raise ThresholdError(f"KL divergence above {max_kl:g}: {', '.join(over)}")
