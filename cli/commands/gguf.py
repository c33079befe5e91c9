"""`llmlocal gguf`: changes to whole files, and what is in them."""

from __future__ import annotations

import typer

from .. import options as o
from ..command_group import group
from ..ui import terminal
from ..views.gguf import Change, compared, cut, hashed

gguf = group("Change and compare files.", "llmlocal gguf diff a.gguf b.gguf")


@gguf.command("set")
def set_key(
    file: o.File, key: o.SetKey, value: o.SetValue = None, out: o.OutFile = None, in_place: o.InPlace = False,
    kind: o.ValueKind = None, remove: o.Remove = False, force: o.ForceOut = False, quiet: o.Quiet = False,
) -> None:  # fmt: skip
    """Set a key of the metadata, or --remove it, in a copy of the file: -o OUT, or --in-place.

    Example: llmlocal gguf set model.gguf tokenizer.chat_template @chat.jinja -o mended.gguf
    """
    Change(file, out, in_place, force, quiet).set(key, value, kind, remove=remove)


@gguf.command("rename-template")
def rename_template(
    file: o.File, old: o.OldTemplate, new: o.NewTemplate, out: o.OutFile = None, in_place: o.InPlace = False,
    force: o.ForceOut = False, quiet: o.Quiet = False,
) -> None:  # fmt: skip
    """Give a chat template of the file another name; "default" is the one that is used."""
    Change(file, out, in_place, force, quiet).rename_template(old, new)


@gguf.command("split")
def split(
    file: o.File, size: o.PartSize, out: o.OutFile = None, force: o.ForceOut = False, quiet: o.Quiet = False
) -> None:
    """Cut a model into files of at most SIZE: -o NAME gives NAME-00001-of-0000N.gguf, by default beside the file."""
    cut(file, size, out, force=force, quiet=quiet)


@gguf.command("merge")
def merge(file: o.File, out: o.MergedFile, force: o.ForceOut = False, quiet: o.Quiet = False) -> None:
    """Make one file of a model in parts; FILE is the first part."""
    Change(file, out, False, force, quiet).merge()


@gguf.command("diff")
def diff(old: o.File, new: o.OtherFile, as_json: o.Json = False) -> None:
    """Tell in which keys and tensors two files differ: exit code 0 in none, 1 in some."""
    if compared(old, new, as_json=as_json):
        raise typer.Exit(1)


@gguf.command("hash")
def hash_tensors(file: o.File, as_json: o.Json = False, quiet: o.Quiet = False) -> None:
    """Print sha256 of every tensor's bytes, and of all of them."""
    terminal.lines(hashed(file, as_json=as_json, quiet=quiet))
