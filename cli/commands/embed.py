"""`llmlocal embed`: texts as vectors."""

from __future__ import annotations

from .. import choices
from .. import options as o
from ..texts import texts_source
from ..ui import terminal
from ..views.embeddings import VectorTarget, read_split


def embed(
    model: o.Model,
    text: o.Texts = None,
    file: o.TextFiles = None,
    split: o.Split = "line",
    pooling: o.PoolingKind = None,
    normalize: o.Normalize = None,
    dimensions: o.Dimensions = None,
    prompt_name: o.PromptName = None,
    truncate: o.Truncate = False,
    output: o.OutputFile = None,
    layout: o.VectorsFormat = choices.VectorLayout.jsonl,
    force: o.Force = False,
    ctx: o.TextLimit = None,
    threads: o.Threads = None,
    no_stdin: o.NoStdin = False,
    yes: o.Yes = False,
    quiet: o.Quiet = False,
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
