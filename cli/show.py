"""`llmlocal show`: what a model's file is, before anything is run."""

from __future__ import annotations

from . import options as o
from . import sheet, ui


def show(
    file: o.File,
    key: o.Key = None,
    kv: o.Kv = False,
    tensors: o.Tensors = False,
    template: o.ShowTemplate = False,
    ctx: o.Ctx = None,
    kv_type: o.KvType = o.Cache.f16,
    as_json: o.Json = False,
) -> None:
    """Tell what is in a GGUF file: its shape, its vocabulary, the memory it takes. Runs nothing.

    \b
    Examples: llmlocal show model.gguf --ctx 8192
              llmlocal show model.gguf --kv general.name
              llmlocal show model.gguf --template > template.jinja
    """
    from ..describe import TEMPLATE, describe
    from ..gguf import open_gguf

    key = TEMPLATE if template and key is None else key
    with open_gguf(file) as gguf:
        if key is not None:
            value = sheet.entry(gguf, key)
            if as_json:
                ui.say(sheet.to_json(path=str(file), key=key, type=gguf.types[key].label, value=value))
            elif isinstance(value, list):
                ui.lines(map(ui.one_line, map(str, value)))
            else:
                ui.show_text(str(value))
        elif as_json:
            ui.say(sheet.record(gguf, file, describe(gguf, ctx, kv_type)))
        elif kv or tensors:
            ui.lines(sheet.entries(gguf) if kv else (), hang=4)
            ui.lines(sheet.tensors(gguf) if tensors else (), hang=4)
        else:
            ui.rows(sheet.sheet(describe(gguf, ctx, kv_type), file))
