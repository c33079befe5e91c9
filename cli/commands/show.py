"""`llmlocal show`: what a model is and what it needs, without running it."""

from __future__ import annotations

from .. import choices
from ..model_argument import open_local_or_remote
from ..options.engine import Ctx, KvType
from ..options.inspection import Key, PartsShown
from ..options.models import File
from ..options.report import Json
from ..ui import terminal
from ..views import fit as fit_sheet
from ..views import model as sheet
from ..views.hf_folder import show_folder


def show(
    file: File,
    key: Key = None,
    *,
    parts: PartsShown,
    ctx: Ctx = None,
    kv_type: KvType = choices.Cache.f16,
    as_json: Json = False,
) -> None:
    """Show what a model is and how much memory it needs.

    Shows the architecture, sizes, vocabulary and chat template of a GGUF file, or its metadata and tensors; the model
    is not run. For a model that is not on this machine only the header is read from the hub. For a Hugging Face folder
    it shows what convert would make of it, for a LoRA adapter, a file or a folder, what it changes.

    \b
    Examples: llmlocal show model.gguf --ctx 8192
              llmlocal show hf:org/repo:Q4_K_M --fit
              llmlocal show model.gguf --kv general.name
              llmlocal show model.gguf --template > template.jinja
    """
    from ...gguf.model_file import is_adapter, other_kind
    from ...lora.describe import describe_adapter
    from ...model_info.describe import TEMPLATE, describe

    key = parts.key(key)
    if file.is_dir():
        return show_folder(file, key, as_json=as_json, more=(parts.kv and key is None) or parts.tensors or parts.fit)
    with open_local_or_remote(file) as gguf:
        if key is not None:
            value = sheet.entry(gguf, key)
            if as_json:
                terminal.say(sheet.to_json(path=str(file), key=key, type=gguf.types[key].label, value=value))
            elif isinstance(value, list):
                terminal.lines(map(terminal.one_line, map(str, value)))
            else:
                terminal.show_text(f"{value}" if key == TEMPLATE else f"{value}\n")  # a template is a file of its own
        elif is_adapter(gguf) and not (parts.kv or parts.tensors):
            record = sheet.adapter_record(describe_adapter(gguf), file)
            terminal.say(record) if as_json else terminal.rows(sheet.adapter_sheet(describe_adapter(gguf), file))
        elif parts.fit:
            found = fit_sheet.measure_fit(gguf, describe(gguf, ctx).memory.n_ctx)
            record = sheet.to_json(path=str(file), fit=fit_sheet.fit_record(found))
            terminal.say(record) if as_json else terminal.rows(fit_sheet.fit_sheet(found))
        elif as_json:
            terminal.say(sheet.record(gguf, file, describe(gguf, ctx, kv_type)))
        elif parts.kv or parts.tensors:
            terminal.lines(sheet.entries(gguf) if parts.kv else (), hang=4)
            terminal.lines(sheet.tensors(gguf) if parts.tensors else (), hang=4)
        else:
            terminal.rows(
                sheet.other_sheet(describe(gguf), gguf.path, *other)
                if (other := other_kind(gguf.metadata))
                else sheet.sheet(describe(gguf, ctx, kv_type), gguf.path)
            )
