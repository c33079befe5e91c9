"""`llmlocal gguf`: edit, split, merge and compare GGUF files."""

from __future__ import annotations

import typer

from ..command_group import group
from ..options.gguf_files import (
    HashedFiles,
    InPlace,
    MergedFile,
    NewTemplate,
    OldTemplate,
    OtherFile,
    OutFile,
    PartSize,
    Remove,
    SetKey,
    SetValue,
    SplitOut,
    ValueKind,
)
from ..options.models import File
from ..options.report import ForceOut, Json, Quiet
from ..ui import terminal
from ..views.gguf import Change, hash_lines, merged_name, print_differences, split_into_parts

gguf = group("Edit, split, merge and compare GGUF files.", "llmlocal gguf diff a.gguf b.gguf")


@gguf.command("set")
def set_key(
    file: File, key: SetKey, value: SetValue = None, out: OutFile = None, in_place: InPlace = False,
    kind: ValueKind = None, remove: Remove = False, force: ForceOut = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Set or remove a metadata key.

    The result goes to -o OUT, or replaces FILE with --in-place.

    \b
    Examples: llmlocal gguf set m.gguf tokenizer.chat_template @t.jinja -o n.gguf
              llmlocal gguf set model.gguf general.url --remove --in-place
    """
    Change(file, out, in_place, force, quiet).set(key, value, kind, remove=remove)


@gguf.command("rename-template")
def rename_template(
    file: File, old: OldTemplate, new: NewTemplate, out: OutFile = None, in_place: InPlace = False,
    force: ForceOut = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Rename a chat template; the one named "default" is used.

    \b
    Example: llmlocal gguf rename-template model.gguf tool_use default -o new.gguf
    """
    Change(file, out, in_place, force, quiet).rename_template(old, new)


@gguf.command("split")
def split(file: File, size: PartSize, out: SplitOut = None, force: ForceOut = False, quiet: Quiet = False) -> None:
    """Split a model into files of at most SIZE.

    \b
    Example: llmlocal gguf split model.gguf 2G -o parts/model
    """
    split_into_parts(file, size, out, force=force, quiet=quiet)


@gguf.command("merge")
def merge(file: File, out: MergedFile = None, force: ForceOut = False, quiet: Quiet = False) -> None:
    """Merge a split model into one file.

    FILE is its first part.

    \b
    Examples: llmlocal gguf merge model-00001-of-00003.gguf
              llmlocal gguf merge model-00001-of-00003.gguf -o whole.gguf
    """
    Change(file, out or merged_name(file), False, force, quiet).merge()


@gguf.command("diff")
def diff(old: File, new: OtherFile, as_json: Json = False) -> None:
    """List the metadata keys and tensors that differ.

    The exit code is 0 if there are none, 1 if there are some.

    \b
    Example: llmlocal gguf diff old.gguf new.gguf
    """
    if print_differences(old, new, as_json=as_json):
        raise typer.Exit(1)


@gguf.command("hash")
def hash_tensors(files: HashedFiles, as_json: Json = False, quiet: Quiet = False) -> None:
    """Print SHA-256 checksums of the tensors.

    \b
    Examples: llmlocal gguf hash model.gguf
              llmlocal gguf hash old.gguf new.gguf
    """
    terminal.lines(hash_lines(files, as_json=as_json, quiet=quiet))
