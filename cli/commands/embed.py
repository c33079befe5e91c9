"""`llmlocal embed`: texts as vectors."""

from __future__ import annotations

from .. import choices
from ..options.common import NoStdin, Quiet, Threads, Yes
from ..options.models import Model
from ..options.prompts import Force, OutputFile
from ..options.vectors import (
    Dimensions,
    Normalize,
    PoolingKind,
    PromptName,
    Split,
    TextFiles,
    TextLimit,
    Texts,
    Truncate,
    VectorsFormat,
)
from ..texts import texts_source
from ..ui import terminal
from ..views.embeddings import VectorTarget, read_split


def embed(
    model: Model,
    text: Texts = None,
    file: TextFiles = None,
    split: Split = "line",
    pooling: PoolingKind = None,
    normalize: Normalize = None,
    dimensions: Dimensions = None,
    prompt_name: PromptName = None,
    truncate: Truncate = False,
    output: OutputFile = None,
    layout: VectorsFormat = choices.VectorLayout.jsonl,
    force: Force = False,
    ctx: TextLimit = None,
    threads: Threads = None,
    no_stdin: NoStdin = False,
    yes: Yes = False,
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
    target, tokens = VectorTarget(output, layout.value, force, [model, *(file or ())]), read_split(split)
    texts = texts_source(text, file, split="whole" if tokens else split, use_stdin=not no_stdin)
    from ...embedding.embedder import Embedder

    with (
        terminal.Screen(quiet=quiet) as screen,
        Embedder.open(model, pooling=pooling, n_ctx=ctx, n_threads=threads, force=yes) as embedder,
    ):
        prompt = embedder.settings.prompt(prompt_name)
        inputs = embedder.pieces(texts(), tokens) if tokens else texts()
        vectors = embedder.embed(inputs, prompt=prompt, normalize=normalize, dimensions=dimensions, truncate=truncate)
        target.write(screen, vectors, dimensions or embedder.width)
        if embedder.cut:
            screen.notes([f"{embedder.cut} texts were cut to {embedder.encoder.n_ctx} tokens"])
