"""`llmlocal batch`: answers the rows of a file."""

from __future__ import annotations

from contextlib import closing

import typer

from ..batch.options import BatchOutput, RayAddress, RowFile, RowOptions, RowsAtOnce
from ..batch.screen import BatchScreen, BatchTarget, deliver
from ..batch.source import RowSource, settings_of
from ..batch.workers import Workers
from ..open_model import chosen
from ..options.engine import DecoderOptions
from ..options.forms import AnswerForm
from ..options.models import Model
from ..options.report import Quiet
from ..options.sampling import AnswerLimits, Sampling

FAILED_ROWS = 9  # exit code


def batch(
    model: Model,
    file: RowFile,
    *,
    asked: RowOptions,
    out: BatchOutput,
    parallel: RowsAtOnce = 8,
    ray: RayAddress = None,
    limits: AnswerLimits,
    form: AnswerForm,
    sampling: Sampling,
    model_options: DecoderOptions,
    quiet: Quiet = False,
) -> None:
    """Answer each row of a file.

    Results are lines of JSON in the order of the rows. A row that fails has its error there, and the exit code is 9.
    After a crash or Ctrl-C, --resume goes on; the file ends up the same.

    \b
    Examples: llmlocal batch qwen3-0.6b prompts.jsonl -o answers.jsonl
              llmlocal batch qwen3-0.6b a.csv --prompt-template "Where is {city}?"
              llmlocal batch qwen3-0.6b prompts.jsonl -o answers.jsonl --resume
              llmlocal batch qwen3-0.6b prompts.jsonl -o out.jsonl --ray host:6379
    """
    source = RowSource(file, asked)
    target = BatchTarget(out.output, [model, file], resume=out.resume, force=out.force)
    workers = Workers(ray, model, model_options, parallel)
    given, grammar = sampling.given(), form.requested()
    from ...batch.resume import first_seed, keyed, skip
    from ...batch.row_prompt import RowPrompts
    from ...batch.run import Answering, sequences
    from ...generation.session import Session

    with (
        BatchScreen(quiet=quiet, total=source.count) as screen,
        Session.open(model, n_seqs=sequences(parallel), **model_options.arguments()) as session,
    ):
        screen.notes(session.notes)
        prompts = RowPrompts(session, source.text, asked.system, asked.template, limits.think.value)
        rows = keyed(source.rows(), settings_of(model, session, parallel, asked, limits, form, sampling))
        with target.open() as kept:
            done = skip(rows, kept.kept() if kept else ())
            how = Answering(
                sampling=chosen(session, given),
                seed=first_seed(sampling.seed, done),
                max_tokens=limits.max_tokens,
                stop=limits.stop or (),
                think_budget=limits.think_budget,
                grammar=grammar,
            )
            screen.begin(done.count, done.failed)
            with closing(workers.results(session, rows, prompts, how)) as found:
                deliver(found, kept, screen, out.max_errors)
    if screen.failed:
        raise typer.Exit(FAILED_ROWS)
