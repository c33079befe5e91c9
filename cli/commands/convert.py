"""`llmlocal convert`: a Hugging Face folder becomes a GGUF file."""

from __future__ import annotations

from .. import choices
from .. import options as o
from ..ui import terminal
from ..views.model import to_json


def convert(
    folder: o.HFFolder,
    out: o.NewModel,
    type: o.StoredType = choices.Stored.auto,
    lora: o.Adapters = None,
    force: o.ForceOut = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Make a GGUF file of a Hugging Face folder: config.json, safetensors files and a tokenizer.

    Tensors pass through some rows at a time, so a large model needs little memory. Nothing is ever unpickled.
    With --lora SRC may be a GGUF file, too.

    \b
    Examples: llmlocal convert ./SmolLM2-135M smollm2.gguf
              llmlocal convert ./base tuned.gguf --lora ./adapter --type q8_0
    """
    from ...convert.gguf_model import open_model
    from ...convert.write import check_output, write_model
    from ...errors import UsageError

    if folder.is_file() and not lora:
        raise UsageError(f"{folder} is a file: SRC is a folder, or a GGUF with --lora", "quantize changes types")
    check_output(out, folder, force=force)
    with terminal.Screen(quiet=quiet) as screen, open_model(folder, lora or ()) as model:

        def show(done: int, total: int) -> None:
            screen.progress("writing", done >> 20, total >> 20, " MiB")

        made = write_model(model, out, type.value, show)
        formats = ", ".join(f"{name} {nbytes / 1e6:.1f} MB" for name, nbytes in made.by_format.items())
        screen.notes([*made.notes, f"{out}: {made.architecture}, {made.tensors} tensors ({formats})"])
    if as_json:
        fields = {"architecture": made.architecture, "tensors": made.tensors, "bytes": made.nbytes}
        terminal.say(
            to_json(source=str(folder), path=str(out), **fields, bytes_by_format=made.by_format, notes=made.notes)
        )
