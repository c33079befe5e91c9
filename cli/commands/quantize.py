"""`llmlocal quantize`: a smaller file of a model."""

from __future__ import annotations

from ..options.conversion import CheckAfter, EachTensor, ListTypes, QuantizeWords, SplitSize, TypeRules
from ..options.engine import Threads
from ..options.report import DryRun, ForceOut, Report
from ..ui import terminal
from ..views.model import to_json


def quantize(
    words: QuantizeWords,
    *,
    list_types: ListTypes = False,
    dry_run: DryRun = False,
    rules: TypeRules,
    split_size: SplitSize = None,
    check: CheckAfter = False,
    force: ForceOut = False,
    threads: Threads = None,
    report: Report,
    verbose: EachTensor = False,
) -> None:
    """Quantize a model: write a smaller GGUF file of type TYPE. SRC is a GGUF file or a Hugging Face folder.

    \b
    Examples: llmlocal quantize model-F16.gguf Q4_K_M
              llmlocal quantize model-F16.gguf --list
              llmlocal quantize model-F16.gguf small.gguf --target-size 4G
    """
    from ...quantize.check import require_comparable
    from ...quantize.prepare import QuantizeRequest, listed_types, prepare_quantization
    from ..views import quantize as view

    request = QuantizeRequest(
        [*map(str, words)], rules.tensor_type or (), rules.output_type, rules.embed_type, pure=rules.pure,
        imatrix=rules.imatrix, target_size=rules.target_size, split_size=split_size,
        allow_requantize=rules.allow_requantize, force=force, effort=rules.effort, threads=threads, measure=verbose,
    )  # fmt: skip
    if list_types:
        with listed_types(request) as (source, rows):
            terminal.say(to_json(**view.list_record(source, rows))) if report.as_json else terminal.lines(
                view.list_lines(rows)
            )
        return
    with prepare_quantization(request) as prepared, terminal.Screen(quiet=report.quiet) as screen:
        if check:
            require_comparable(prepared.source)
        screen.notes(prepared.notes)
        if dry_run:
            terminal.say(to_json(**view.plan_record(prepared))) if report.as_json else terminal.lines(
                view.plan_lines(prepared)
            )
            return
        result = prepared.write(view.Progress(screen, "quantizing", each_tensor=verbose))
        found = view.check_quality(prepared.source.path, result.paths[0], threads, screen) if check else None
        screen.clear()
        record = view.result_record(prepared, result, found)
        terminal.say(to_json(**record)) if report.as_json else terminal.lines(
            view.result_lines(prepared, result, found)
        )
