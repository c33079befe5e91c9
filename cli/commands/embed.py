"""`llmlocal embed`: texts as vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..options.models import Model
from ..options.report import Quiet
from ..options.vectors import EncoderOptions, Split, TextSource, VectorFile, VectorOptions
from ..texts import stretches_source, texts_source
from ..ui import terminal
from ..views.embeddings import VectorTarget, cut_texts, read_split

if TYPE_CHECKING:
    from ...embedding.embedder import Embedder


def embed(
    model: Model,
    *,
    source: TextSource,
    split: Split = "line",
    vector: VectorOptions,
    model_options: EncoderOptions,
    out: VectorFile,
    quiet: Quiet = False,
) -> None:
    """Turn texts into vectors (embeddings).

    Each TEXT, and each line of files and stdin, is a text; the vectors come in the same order. Pooling, normalization
    and prompts are those that the model's metadata names.

    \b
    Examples: llmlocal embed minilm.gguf "a cat" "a dog"
              llmlocal embed minilm.gguf - --format npy -o vectors.npy < lines.txt
              llmlocal embed e5.gguf "how to cook rice" --prompt-name query
    """
    inputs = [model, *(source.file or ())]
    target, tokens = VectorTarget(out.output, out.layout.value, out.force, inputs), read_split(split)
    texts = _reader(source, split, tokens)
    from ...embedding.embedder import Embedder

    with (
        terminal.Screen(quiet=quiet) as screen,
        Embedder.open(
            model,
            pooling=vector.pooling,
            n_ctx=model_options.ctx,
            n_threads=model_options.threads,
            force=model_options.yes,
        ) as embedder,
    ):
        prompt = embedder.settings.prompt(vector.prompt_name)
        vectors = embedder.embed(
            texts(embedder),
            prompt=prompt,
            normalize=vector.normalize,
            dimensions=vector.dimensions,
            truncate=model_options.truncate,
        )
        target.write(screen, vectors, vector.dimensions or embedder.width)
        if embedder.cut:
            screen.notes([f"{cut_texts(embedder.cut)} to {embedder.encoder.n_ctx} tokens"])


def _reader(source: TextSource, split: str, tokens: int | None) -> Callable[[Embedder], Iterable[bytes | list[int]]]:
    """What gives an embedder its texts: lines, paragraphs, or pieces of so many `tokens`."""
    given, use_stdin = (source.text, source.file), not source.no_stdin
    if tokens:
        stretches = stretches_source(*given, use_stdin=use_stdin)
        return lambda embedder: embedder.pieces(stretches(), tokens)
    texts = texts_source(*given, split=split, use_stdin=use_stdin)
    return lambda _: texts()
