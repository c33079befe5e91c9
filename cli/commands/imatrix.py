"""`llmlocal imatrix`: an importance matrix, computed from a calibration text."""

from __future__ import annotations

from pathlib import Path

from ..options.engine import Threads
from ..options.importance import MatrixModel, MatrixOptions, MaybeTextFile
from ..options.measurements import TextChunks
from ..options.report import ForceOut, Report
from ..text_input import read_file
from ..ui import terminal
from ..ui.tables import show_table
from ..views.imatrix import LEGEND, result_lines, result_record, stats_record, stats_table
from ..views.model import to_json


def imatrix(
    model: MatrixModel,
    text_file: MaybeTextFile = None,
    *,
    options: MatrixOptions,
    part: TextChunks,
    force: ForceOut = False,
    threads: Threads = None,
    report: Report,
) -> None:
    """Compute an importance matrix from a calibration text.

    It says which columns of a model's weights matter most, for quantize --imatrix; the file is the same as that of
    llama-imatrix. Progress is saved every 30 seconds, and --resume continues from there.

    \b
    Examples: llmlocal imatrix model-F16.gguf text.txt -o model.imatrix.gguf
              llmlocal imatrix model.imatrix.gguf --stats
    """
    from ...errors import UsageError
    from ...files.atomic_file import check_not_input
    from ...imatrix.collect import CollectOptions, collect
    from ...imatrix.file import load_imatrix

    if text_file is None:
        if not options.stats:
            raise UsageError("no TEXT_FILE", "give a calibration text, or --stats to show an existing matrix")
        matrix, out = load_imatrix(model), model
    else:
        text, last = read_file(text_file), None
        out = options.output or Path(f"{model.stem}.imatrix.gguf")
        check_not_input(out, text_file)
        with terminal.Screen(quiet=report.quiet) as screen:
            how = CollectOptions(part.ctx, part.chunks, threads, options.with_output, options.resume, force)
            for last in collect(model, text, text_file.name, out, how):
                screen.progress("chunk", last.done - last.before, last.total - last.before)
        assert last is not None  # there is a step before the first chunk
        matrix = last.matrix
        if not report.as_json:
            terminal.lines(result_lines(last, out))
    if report.as_json:
        terminal.say(to_json(**result_record(matrix, out), **(stats_record(matrix) if options.stats else {})))
    elif options.stats:
        show_table(stats_table(matrix))
        terminal.lines(LEGEND)
