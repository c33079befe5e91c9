"""`llmlocal fill`: words for the gaps of a text."""

from __future__ import annotations

from ..options.engine import Threads
from ..options.models import Model
from ..options.report import Report
from ..options.vectors import MaskedText, TopWords
from ..text_input import text_source
from ..ui import terminal
from ..views.model import to_json


def fill(model: Model, text: MaskedText = None, top: TopWords = 5, *, threads: Threads = None, report: Report) -> None:
    """Predict the masked words of a text.

    Write a gap as [MASK]. A line of the result is a probability and a word; the words for each gap follow those for
    the gap before, after an empty line.

    \b
    Examples: llmlocal fill bert.gguf "The capital of France is [MASK]." --top 3
              llmlocal fill bert.gguf < text.txt
    """
    from ...embedding.masked_words import fill

    if text is None or text == "-":
        text = b"".join(text_source(text)()).decode("utf-8", "surrogateescape").rstrip("\r\n")
    with terminal.Screen(quiet=report.quiet):
        places = fill(model, text, top=top, n_threads=threads)
    if report.as_json:
        found = [[{"id": w.id, "text": w.text, "probability": w.probability} for w in words] for words in places]
        return terminal.say(to_json(model=str(model), text=text, places=found))
    for i, words in enumerate(places):
        terminal.lines(([""] if i else []) + [f"{word.probability:.4f}  {word.text}" for word in words])
