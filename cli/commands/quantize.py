"""`llmlocal quantize`: a smaller file of a model."""

from __future__ import annotations

from ..options.common import DryRun, ForceOut, Json, Quiet, Threads
from ..options.conversion import (
    AllowRequantize,
    CheckAfter,
    EachTensor,
    EffortLevel,
    EmbedType,
    Imatrix,
    ListTypes,
    OutputType,
    Pure,
    QuantizeWords,
    SplitSize,
    TargetSize,
    TensorType,
)
from ..ui import terminal
from ..views.model import to_json


def quantize(
    words: QuantizeWords,
    list_types: ListTypes = False,
    dry_run: DryRun = False,
    target_size: TargetSize = None,
    tensor_type: TensorType = None,
    output_type: OutputType = None,
    embed_type: EmbedType = None,
    pure: Pure = False,
    imatrix: Imatrix = None,
    split_size: SplitSize = None,
    effort: EffortLevel = "normal",
    check: CheckAfter = False,
    allow_requantize: AllowRequantize = False,
    force: ForceOut = False,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: EachTensor = False,
) -> None:
    """Quantize a model: write a smaller GGUF file of type TYPE. SRC is a GGUF file or a Hugging Face folder.

    OUT is by default SRC's name with TYPE, in the same folder.

    \b
    Examples: llmlocal quantize model-F16.gguf Q4_K_M
              llmlocal quantize model-F16.gguf --list
              llmlocal quantize model-F16.gguf small.gguf --target-size 4G
    """
    from ...quantize.prepare import QuantizeRequest, listed_types, prepare_quantization
    from ..views import quantize as view

    request = QuantizeRequest(
        [*map(str, words)], tensor_type or (), output_type, embed_type, pure=pure, imatrix=imatrix,
        target_size=target_size, split_size=split_size, allow_requantize=allow_requantize, force=force, effort=effort,
        threads=threads, measure=verbose,
    )  # fmt: skip
    if list_types:
        with listed_types(request) as (source, rows):
            terminal.say(to_json(**view.list_record(source, rows))) if as_json else terminal.lines(
                view.list_lines(rows)
            )
        return
    with prepare_quantization(request) as prepared, terminal.Screen(quiet=quiet) as screen:
        screen.notes(prepared.notes)
        if dry_run:
            terminal.say(to_json(**view.plan_record(prepared))) if as_json else terminal.lines(
                view.plan_lines(prepared)
            )
            return
        result = prepared.write(view.Progress(screen, "quantizing", each_tensor=verbose))
        found = view.check_quality(prepared.source.path, result.paths[0], threads, screen) if check else None
        screen.clear()
        record = view.result_record(prepared, result, found)
        terminal.say(to_json(**record)) if as_json else terminal.lines(view.result_lines(prepared, result, found))
