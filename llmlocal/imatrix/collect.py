"""Computes an importance matrix: evaluates a text chunk by chunk and sums the squared inputs of matmuls.

The file is saved every SAVE_SECONDS, so that an interrupted run can be resumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np

from .. import tokenizer as tokenizers
from ..engine import Engine
from ..errors import UsageError
from ..files.atomic_file import check_not_input
from ..files.disk import check_folder
from ..gguf.model_file import open_model
from ..gguf.split import files_of
from ..measure.perplexity import BATCH, cut_in_chunks
from ..model_info.memory_limit import check_memory
from ..text import escaped
from .file import Imatrix, TextRead, load_imatrix, write_imatrix
from .observer import ColumnSums

SAVE_SECONDS = 30.0
BLOCKS = "blk."  # prefix of the weights in blocks; the output matrix is optional


@dataclass(frozen=True, slots=True)
class CollectOptions:
    """Chunks of `n_ctx` tokens, at most `chunks`; `output`: also collect for the output matrix.

    `resume`: continue an existing file; `force`: overwrite it.
    """

    n_ctx: int = 512
    chunks: int | None = None
    n_threads: int | None = None
    output: bool = False
    resume: bool = False
    force: bool = False


class CollectProgress(NamedTuple):
    """`done` of `total` chunks of the text are evaluated, of which `before` were already in the file."""

    done: int
    total: int
    before: int
    matrix: Imatrix


def collect(model: Path, text: bytes, name: str, out: Path, options: CollectOptions) -> Iterator[CollectProgress]:
    """Evaluate `text`, recorded as `name`, and write `out`; yields progress before the first chunk and after each.

    Raises UsageError for a text shorter than one chunk, an existing file, or one that cannot be resumed,
    NotFoundError, BadFileError for a sum that is not finite, and what `Engine.open` and `GGUFWriter` raise.
    """
    matrix = _begin(model, out, options)
    with open_model(model) as gguf:
        cut = cut_in_chunks(tokenizers.load(gguf.metadata), text, options.n_ctx, options.chunks)
        check_memory(gguf.metadata, gguf.tensors, options.n_ctx)
    entry = _entry(matrix, TextRead(name, sha256(text).hexdigest(), 0), out)
    before = min(entry.chunks, len(cut))
    yield CollectProgress(before, len(cut), before, matrix)
    if before == len(cut):
        return
    sums = ColumnSums(lambda weight: options.output or weight.startswith(BLOCKS))
    outputs = BATCH if options.output else 1
    engine = Engine.open(model, n_ctx=options.n_ctx, n_threads=options.n_threads, max_outputs=outputs, observer=sums)
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
    """The matrix to continue, or an empty one. Raises UsageError, or NotFoundError where the folder is missing."""
    where = escaped(str(out))
    if out.is_dir():
        raise UsageError(f"{where} is a folder", "name an output file")
    check_folder(out)
    check_not_input(out, *files_of(model))
    if not out.exists() or (options.force and not options.resume):
        return Imatrix(options.n_ctx)
    if not options.resume:
        raise UsageError(f"{where} exists", "use --resume to continue it or --force to overwrite it")
    matrix = load_imatrix(out)
    if not matrix.chunk_size:
        raise UsageError(f"{where} does not record its chunk size", "start again with --force or another output file")
    if matrix.chunk_size != options.n_ctx:
        raise UsageError(f"{where} was made with chunks of {matrix.chunk_size} tokens", f"use -c {matrix.chunk_size}")
    return matrix


def _entry(matrix: Imatrix, text: TextRead, out: Path) -> TextRead:
    """The entry of the text in `matrix`, added where it is new.

    A file of llama-imatrix has no hashes; then texts are compared by file name. Raises UsageError where the number of
    chunks already read of this text is unknown.
    """
    for read in matrix.texts:
        same = read.sha256 == text.sha256 if read.sha256 else Path(read.name).name == Path(text.name).name
        if same and not read.chunks:
            hint = "start again with --force or another output file"
            raise UsageError(f"{escaped(str(out))} does not record how much of {escaped(text.name)} was read", hint)
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
        if not np.isfinite(sums).all():
            raise engine.weights.not_finite(f"the input of {name} is not finite")
