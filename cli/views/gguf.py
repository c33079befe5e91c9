"""What the commands of `gguf` do, with progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...files.atomic_file import check_output
from ...gguf import edit, open_gguf
from ...gguf.split import files_of
from ..ui import terminal
from .model import to_json

MAX_VALUE = 4 << 20  # bytes of a file that becomes a value


@dataclass(frozen=True, slots=True)
class Change:
    """A file, and where its changed copy goes."""

    file: Path
    out: Path | None
    in_place: bool
    force: bool
    quiet: bool

    def set(self, key: str, value: str | None, kind: str | None, *, remove: bool) -> None:
        """Raises UsageError unless there is a value, or none to remove."""
        if (value is None) != remove:
            raise UsageError(
                "VALUE and --remove exclude each other" if remove else "no VALUE",
                "give VALUE, or --remove to delete the key",
            )
        if value is None:
            return self._write({}, [key])
        with open_gguf(self.file) as gguf:
            change = {key: edit.typed_value(key, _text(value), kind, gguf.metadata.raw())}
        self._write(change, [], *([Path(value[1:])] if value.startswith("@") else []))

    def rename_template(self, old: str, new: str) -> None:
        """Raises NotFoundError where there is no template `old`, UsageError where there is one `new`."""
        with open_gguf(self.file) as gguf:
            changes, removed = edit.renamed_template(gguf, old, new)
        self._write(changes, removed)

    def merge(self) -> None:
        self._write({}, [])

    def _write(self, changes: Mapping[str, Any], removed: Sequence[str], *read: Path) -> None:
        if (self.out is None) != self.in_place:
            raise UsageError("one of -o OUT and --in-place is needed", "-o OUT writes a copy, --in-place replaces FILE")
        out = self.file.resolve() if self.out is None else self.out
        check_output(out, *files_of(self.file), *read, force=self.force, in_place=self.in_place)
        with terminal.Screen(quiet=self.quiet) as screen:
            edit.copy_with(self.file, out, changes, removed, _progress(screen, "copying"))
        terminal.say(terminal.one_line(str(out)))


def split_into_parts(file: Path, size: str, out: Path | None, *, force: bool, quiet: bool) -> None:
    """Split a file, and print the names of its parts."""
    from ...quantize.request import size_in_bytes

    stem = out or file.with_name(file.name.removesuffix(".gguf"))
    with terminal.Screen(quiet=quiet) as screen:
        tell = _progress(screen, "splitting")
        paths = edit.split_file(file, stem, size_in_bytes(size), force=force, tell=tell)
    terminal.lines(terminal.one_line(str(path)) for path in paths)


def print_differences(old: Path, new: Path, *, as_json: bool) -> bool:
    """Print the differences of two files; true if there are any."""
    with open_gguf(old) as one, open_gguf(new) as two:
        found = list(edit.differences(one, two))
    if as_json:
        terminal.say(to_json(old=str(old), new=str(new), differences=[d._asdict() for d in found]))
    else:
        terminal.lines(f"{d.where} {terminal.one_line(d.name)}: {_side(d.old)} -> {_side(d.new)}" for d in found)
    return bool(found)


def merged_name(first: Path) -> Path:
    """The default output of merging the parts of `first`. Raises UsageError where that is not named as a part."""
    if len(files_of(first)) == 1:
        raise UsageError(f"{terminal.one_line(str(first))} is not named as the first part of several", "give -o OUT")
    return first.with_name(f"{first.name[: -len('-00001-of-00002.gguf')]}.gguf")


def hash_lines(files: Sequence[Path], *, as_json: bool, quiet: bool) -> Iterator[str]:
    """A line per tensor with its SHA-256, of several files with the file's name, or one JSON object."""
    records = []
    for file in files:
        with open_gguf(file) as gguf, terminal.Screen(quiet=quiet) as screen:
            digests = list(edit.digests(gguf, _progress(screen, "reading")))
        records.append({"path": str(file), "tensors": dict(digests[:-1]), "all": digests[-1][1]})
        where = f"{terminal.one_line(str(file))}: " if len(files) > 1 else ""
        if not as_json:
            yield from (
                f"{digest}  {where}{terminal.one_line(name) if name else 'all tensors'}" for name, digest in digests
            )
    if as_json:
        yield to_json(**records[0]) if len(records) == 1 else to_json(files=records)


def _text(value: str) -> str:
    """The value, or what the file after an @ holds."""
    if not value.startswith("@"):
        return value
    try:
        with open(value[1:], "rb") as file:
            data = file.read(MAX_VALUE + 1)
        if len(data) > MAX_VALUE:
            raise UsageError(f"{value[1:]}: larger than {MAX_VALUE >> 20} MiB")
        return data.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UsageError(f"{value[1:]}: {reason}", "a value that begins with @ names a file") from None


def _side(text: str | None) -> str:
    if text is None:
        return "(missing)"
    return terminal.one_line(text if len(text) <= 80 else text[:80] + "…")


def _progress(screen: terminal.Screen, title: str) -> edit.Progress:
    return lambda done, total: screen.progress(title, done >> 20, total >> 20, " MiB")
