"""`llmlocal pull`: download models, with size and memory shown first."""

from __future__ import annotations

from ..option_groups import values_of
from ..options.models import RemoteFiles, Remotes
from ..options.report import DryRun, Report, YesDownload
from ..ui import terminal
from ..views.model import to_json
from ..views.transfer import pull_one, record


def pull(
    model: Remotes, *, files: RemoteFiles, dry_run: DryRun = False, yes: YesDownload = False, report: Report
) -> None:
    """Download models and print the paths of their files.

    MODEL is a name (llmlocal list --available shows them), name:QUANT, or hf:org/repo[:QUANT|/file.gguf][@revision].
    Files go to the Hugging Face cache, which other tools use, too. An interrupted download continues where it
    stopped. Without a quantization, the best one that fits this machine well is chosen.

    \b
    Examples: llmlocal pull qwen3-0.6b
              llmlocal pull hf:Qwen/Qwen3-0.6B-GGUF:Q8_0 --dry-run
    """
    done = []
    for text in model:
        planned, path = pull_one(text, **values_of(files), dry_run=dry_run, yes=yes, quiet=report.quiet)
        done.append(record(planned, path))
        if not report.as_json and not dry_run:
            terminal.say(str(path))
            terminal.flush()
    if report.as_json:
        terminal.say(to_json(dry_run=dry_run, models=done))
