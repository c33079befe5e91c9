"""`llmlocal quantize`: a model in fewer bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import options as o
from ..ui import terminal
from ..views.model import to_json


def quantize(
    words: o.QuantizeWords,
    list_types: o.ListTypes = False,
    dry_run: o.DryRun = False,
    target_size: o.TargetSize = None,
    tensor_type: o.TensorType = None,
    output_type: o.OutputType = None,
    embed_type: o.EmbedType = None,
    pure: o.Pure = False,
    imatrix: o.Imatrix = None,
    split_size: o.SplitSize = None,
    effort: o.EffortLevel = "normal",
    check: o.CheckAfter = False,
    allow_requantize: o.AllowRequantize = False,
    force: o.ForceOut = False,
    threads: o.Threads = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.EachTensor = False,
) -> None:
    """Make a smaller file of a model: SRC [OUT] TYPE, where SRC is a GGUF file or a Hugging Face folder.

    \b
    Examples: llmlocal quantize model-F16.gguf Q4_K_M
              llmlocal quantize model-F16.gguf --list
              llmlocal quantize model-F16.gguf small.gguf --target-size 4G
    """
    from ...requantize.run import Request, listed, prepared
    from ..views import quantize as report

    more: dict[str, Any] = {"pure": pure, "imatrix": imatrix, "allow_requantize": allow_requantize, "force": force}
    request = Request([*map(str, words)], tensor_type or (), output_type, embed_type, target_size=target_size, **more)
    request = report.completed(request, split_size, effort, threads, verbose)
    if list_types:
        with listed(request) as (model, rows):
            terminal.say(to_json(**report.list_record(model, rows))) if as_json else terminal.lines(
                report.list_lines(rows)
            )
        return
    with prepared(request) as ready, terminal.Screen(quiet=quiet) as screen:
        screen.notes(ready.notes)
        if dry_run:
            terminal.say(to_json(**report.plan_record(ready))) if as_json else terminal.lines(report.plan_lines(ready))
            return
        result = ready.write(report.Progress(screen, verbose))
        found = report.checked(Path(ready.model.path), result.paths[0], threads, screen) if check else None
        screen.clear()
        record = report.result_record(ready, result, found)
        terminal.say(to_json(**record)) if as_json else terminal.lines(report.result_lines(ready, result, found))
