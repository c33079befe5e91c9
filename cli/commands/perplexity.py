"""`llmlocal perplexity`: how well a model predicts a text."""

from __future__ import annotations

from .. import choices
from ..options.engine import KvType, Threads
from ..options.measurements import TextChunks, TextFile
from ..options.models import Model
from ..options.report import Report
from ..text_input import read_file
from ..ui import terminal
from ..views.model import to_json


def perplexity(
    model: Model,
    text_file: TextFile,
    *,
    part: TextChunks,
    threads: Threads = None,
    kv_type: KvType = choices.Cache.f16,
    report: Report,
) -> None:
    """Measure perplexity on a text; lower is better.

    Computed as llama-perplexity does. Compare only figures of the same text, vocabulary and chunk size.

    \b
    Example: llmlocal perplexity model.gguf wiki.test.raw --chunks 20
    """
    text = read_file(text_file)
    from ...measure.perplexity import perplexity
    from ...text import counted

    with terminal.Screen(quiet=report.quiet) as screen:
        last = None
        for last in perplexity(model, text, n_ctx=part.ctx, chunks=part.chunks, n_threads=threads, kv_type=kv_type):
            value = f"{last.value:.4f} ± {last.error:.4f}"
            screen.progress("chunk", last.chunk, last.n_chunks, more=f", perplexity {value}")
        screen.clear()
        assert last is not None  # a text without a chunk is refused
    if report.as_json:
        fields = {"perplexity": last.value, "error": last.error, "tokens": last.n_tokens, "chunks": last.n_chunks}
        terminal.say(to_json(model=str(model), text_file=str(text_file), **fields, ctx=part.ctx))
    else:
        scored = f"{counted(last.n_tokens, 'token')} scored, {counted(last.n_chunks, 'chunk')} of {part.ctx}"
        terminal.say(f"perplexity {value} ({scored})")
