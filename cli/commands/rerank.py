"""`llmlocal rerank`: texts in the order in which they answer a query."""

from __future__ import annotations

from ..options.models import Model
from ..options.report import Report
from ..options.vectors import EncoderOptions, Query, TextSource, Top
from ..texts import texts_source
from ..ui import terminal
from ..views.embeddings import cut_texts
from ..views.ranking import ranked


def rerank(
    model: Model, query: Query, *, source: TextSource, top: Top = None, model_options: EncoderOptions, report: Report
) -> None:
    """Sort texts by how well they answer a query, the best first.

    Each TEXT, and each line of files and stdin, is a text. A line of the result is a score and a text; scores are the
    model's own numbers and can be compared within one query.

    \b
    Examples: llmlocal rerank bge-reranker.gguf "rice" "Boil it." "A red car."
              llmlocal rerank bge-reranker.gguf "rice" - --top 3 < answers.txt
    """
    texts = texts_source(source.text, source.file, use_stdin=not source.no_stdin)
    from ...embedding.reranker import Reranker

    with (
        terminal.Screen(quiet=report.quiet) as screen,
        Reranker.open(
            model, n_ctx=model_options.ctx, n_threads=model_options.threads, force=model_options.yes
        ) as reranker,
    ):
        kept, scores = list(texts()), list[float]()
        for group in reranker.scores(query.encode("utf-8", "surrogateescape"), kept, truncate=model_options.truncate):
            scores += group
            screen.progress("text", len(scores), len(kept))
        screen.clear()
        if reranker.cut:
            screen.notes([f"{cut_texts(reranker.cut)} to fit the {reranker.limit} tokens of the model"])
        terminal.lines(ranked(model, query, kept, scores, top, as_json=report.as_json))
