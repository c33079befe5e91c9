"""`llmlocal convert`: a Hugging Face folder becomes a GGUF file."""

from __future__ import annotations

from .. import choices
from ..options.conversion import Adapters, BaseModel, HFFolder, NewModel, StoredType
from ..options.engine import Threads
from ..options.report import ForceOut, Report
from ..ui import terminal
from ..views import quantize as view
from ..views.model import to_json


def convert(
    folder: HFFolder,
    out: NewModel,
    *,
    type: StoredType = choices.Stored.auto,
    lora: Adapters = None,
    base: BaseModel = None,
    force: ForceOut = False,
    threads: Threads = None,
    report: Report,
) -> None:
    """Convert a Hugging Face folder (config.json, safetensors, tokenizer) to a GGUF file.

    Tensors are read a few rows at a time, so a large model needs little memory. Pickled files are refused.
    With --lora, adapters are merged into the model, and SRC may also be a GGUF file. With --base, SRC is an adapter.

    \b
    Examples: llmlocal convert ./SmolLM2-135M smollm2.gguf
              llmlocal convert ./base tuned.gguf --lora ./adapter --type q8_0
              llmlocal convert ./adapter style.gguf --base model.gguf
    """
    from ...errors import UsageError
    from ...quantize.convert import convert_model
    from ...quantize.convert_adapter import convert_adapter

    if base and lora:
        raise UsageError("--base is for SRC as an adapter, --lora for SRC as a model", "give one of them")
    if folder.is_file() and not (lora or base):
        raise UsageError(f"{folder} is a file: SRC is a folder, or a GGUF with --lora", "quantize changes types")
    with terminal.Screen(quiet=report.quiet) as screen:
        tell = view.Progress(screen, "writing")
        if base:
            made = convert_adapter(folder, base, out, type.value, force=force)
        else:
            made = convert_model(folder, out, type.value, lora=lora or (), threads=threads, force=force, tell=tell)
        screen.notes([*made.notes, view.conversion_line(made)])
    if report.as_json:
        terminal.say(to_json(source=str(folder), **view.conversion_record(made)))
