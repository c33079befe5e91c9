"""`llmlocal pull`: download models, with size and memory shown first."""

from __future__ import annotations

from ..options.common import DryRun, Json, Quiet, YesDownload
from ..options.store import Again, Folder, Quant, RemoteFile, Remotes, Revision
from ..ui import terminal
from ..views.model import to_json
from ..views.transfer import pull_one, record


def pull(
    model: Remotes,
    quant: Quant = None,
    file: RemoteFile = None,
    revision: Revision = None,
    to: Folder = None,
    dry_run: DryRun = False,
    force: Again = False,
    yes: YesDownload = False,
    as_json: Json = False,
    quiet: Quiet = False,
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
        planned, path = pull_one(
            text, quant=quant, file=file, revision=revision, to=to, dry_run=dry_run, force=force, yes=yes, quiet=quiet
        )
        done.append(record(planned, path))
        if not as_json and not dry_run:
            terminal.say(str(path))
            terminal.flush()
    if as_json:
        terminal.say(to_json(dry_run=dry_run, models=done))
