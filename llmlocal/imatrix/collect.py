"""Makes an importance matrix: a model reads a text chunk by chunk, and what its products read is summed.

The file is written now and then, so that work which ends early can go on. Knows no terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic

import numpy as np

from .. import tokenizer as tokenizers
from ..engine import Engine
from ..errors import BadFileError, NotFoundError, UsageError
from ..gguf import open_gguf
from ..measure.perplexity import BATCH, cut_in_chunks
from ..model_info.memory_limit import check_memory
from ..text import escaped
from .file import Imatrix, TextRead, load_imatrix, write_imatrix
from .observer import ColumnSums

SAVE_SECONDS = 30.0
BLOCKS = "blk."  # weights of a block; the output matrix is another thing


@dataclass(frozen=True, slots=True)
class CollectOptions:
    """How to read: chunks of `n_ctx` tokens, at most `chunks` of them; `output`: sum for the output matrix, too.

    `resume`: go on with the file that is there; `force`: write over it.
    """

    n_ctx: int = 512
    chunks: int | None = None
    n_threads: int | None = None
    output: bool = False
    resume: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class CollectProgress:
    """`done` of `total` chunks of the text have been read, of which `before` were in the file at the start."""

    done: int
    total: int
    before: int
    matrix: Imatrix


def collect(model: Path, text: bytes, name: str, out: Path, options: CollectOptions) -> Iterator[CollectProgress]:
    """Read `text`, called `name`, and write `out`. A step before the first chunk, and one after each.

    Raises UsageError for a text below one chunk, for a file in the options or one that cannot be gone on with,
    NotFoundError, BadFileError where a sum is no number, and what `Engine.open` and `GGUFWriter` raise.
    """
    matrix = _begin(model, out, options)
    with open_gguf(model) as gguf:
        cut = cut_in_chunks(tokenizers.load(gguf.metadata), text, options.n_ctx, options.chunks)
        check_memory(gguf.metadata, gguf.tensors, options.n_ctx)
    entry = _entry(matrix, TextRead(name, sha256(text).hexdigest(), 0), out)
    before = min(entry.chunks, len(cut))
    yield CollectProgress(before, len(cut), before, matrix)
    if before == len(cut):
        return
    sums = ColumnSums(lambda weight: options.output or weight.startswith(BLOCKS))
    outputs = BATCH if options.output else 1
    engine = Engine.open(model, n_ctx=options.n_ctx, n_threads=options.n_threads, max_outputs=outputs, watcher=sums)
    saved = monotonic()
    try:
        for i, chunk in enumerate(cut[before:], before + 1):
            _read(engine, chunk, options.output)
            sums.drain(matrix.add)
            _check(engine, matrix)
            entry.chunks = i
            if i == len(cut) or monotonic() - saved > SAVE_SECONDS:
                write_imatrix(out, matrix)
                saved = monotonic()
            yield CollectProgress(i, len(cut), before, matrix)
    finally:
        engine.close()


def _begin(model: Path, out: Path, options: CollectOptions) -> Imatrix:
    """What was summed before, or nothing. Raises UsageError, and NotFoundError where there is no folder for it."""
    where = escaped(str(out))
    if out.is_dir():
        raise UsageError(f"{where} is a folder", "name a file")
    if not out.parent.is_dir():
        raise NotFoundError(f"{where}: no such folder")
    if out.exists() and model.exists() and out.samefile(model):
        raise UsageError(f"{where} is the model; nothing is written over it", "name another file")
    if not out.exists() or (options.force and not options.resume):
        return Imatrix(options.n_ctx)
    if not options.resume:
        raise UsageError(f"{where} exists", "--resume goes on with it, --force writes over it")
    matrix = load_imatrix(out)
    if matrix.chunk_size != options.n_ctx:
        raise UsageError(f"{where} was made with chunks of {matrix.chunk_size} tokens", f"use -c {matrix.chunk_size}")
    return matrix


def _entry(matrix: Imatrix, text: TextRead, out: Path) -> TextRead:
    """The text's place among those that went into `matrix`: a new one where it is none of them.

    A file of llama-imatrix does not say which text it read but by its path: then the name decides. Raises UsageError
    where a text of that name went in, and it is not known how much of it.
    """
    for read in matrix.texts:
        same = read.sha256 == text.sha256 if read.sha256 else Path(read.name).name == Path(text.name).name
        if same and not read.chunks:
            hint = "make a new file"
            raise UsageError(f"{escaped(str(out))} does not say how much of {text.name} was read", hint)
        if same:
            return read
    matrix.texts.append(text)
    return text


def _read(engine: Engine, chunk: list[int], output: bool) -> None:
    engine.truncate(0)
    if output:
        engine.all_logits(chunk)
    else:
        engine.prefill(chunk)


def _check(engine: Engine, matrix: Imatrix) -> None:
    """Raises BadFileError where a sum is not finite."""
    for name, sums in matrix.sums.items():
        if not np.isfinite(sums.sum()):
            tensor = engine.weights.first_not_finite()
            blame = (
                f"tensor '{tensor}' holds a value that is not finite" if tensor else f"what {name} reads is no number"
            )
            raise BadFileError(f"{escaped(str(engine.gguf.path))}: {blame}", "the file is damaged; get it again")
