"""A file that appears whole or not at all: written under a temporary name, flushed to the disk, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from ..errors import ResourceError, UsageError
from ..text import escaped
from .disk import disk_error, sync_folder
from .open_file import OpenFile
from .page_cache import give_back
from .temporary import hold, name_beside, sweep, write_behind

ATTEMPTS = 100  # at a temporary file that nobody removes before it is locked


def check_absent(path: Path) -> None:
    """Raises UsageError where `path` is a file or a folder. Call it before long work; devices and pipes are allowed."""
    if path.is_dir():
        raise UsageError(f"{escaped(str(path))} exists and is a folder", "name a file")
    if path.is_file():
        raise UsageError(f"{escaped(str(path))} exists", "--force overwrites it")


def check_not_input(out: Path, *inputs: Path) -> None:
    """Raises UsageError where `out` is one of the files that are read, also by a hard or symbolic link.

    Of an input that is a folder every file counts but GGUF files, which are made from it. Inputs need not exist.
    """
    if not out.is_file():
        return
    where, own = escaped(str(out)), out.stat()
    for given in inputs:
        for path in _files_of(given):
            if path.is_file() and os.path.samestat(own, path.stat()):
                what = "is read by this command" if path == given else f"is a file of {escaped(str(given))}"
                raise UsageError(f"{where} {what} and would be overwritten", "write to another file")


def _files_of(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.suffix != ".gguf")
    else:
        yield path


def check_output(out: Path, *inputs: Path, force: bool, in_place: bool = False) -> None:
    """Raises UsageError where a model must not be written to `out`. Call it before long work.

    That is: `out` is one of `inputs` (see `check_not_input`; with `in_place` it may be the first of them), or it exists
    and is not a file, or it is a file and `force` is False.
    """
    where = escaped(str(out))
    if in_place and out.is_file() and inputs[0].is_file() and out.samefile(inputs[0]):
        return
    check_not_input(out, *inputs)
    if out.exists() and not out.is_file() and not out.is_dir():
        raise UsageError(f"{where} is not a regular file", "name a file")
    if not force or out.is_dir():
        check_absent(out)


class AtomicFile(OpenFile):
    """Context manager: `write` bytes; `path` appears when the block ends, and is as it was if an exception ends it.

    Devices and pipes are written to directly; a link stays a link. `size`, if known, is compared with the free space
    first. A file of a `group` appears with the others of the group, when the group's block ends. Raises ResourceError
    where the disk is full or refuses, NotFoundError where the folder does not exist.
    """

    def __init__(self, path: Path, size: int | None = None, group: AtomicGroup | None = None) -> None:
        super().__init__(path)
        self._size, self._group = size, group
        self._target = path.resolve()
        self._direct = self._target.exists() and not self._target.is_file()
        self._temporary = self._target if self._direct else name_beside(self._target)
        self._flushed = 0  # bytes that the system was asked to bring to the disk

    def __enter__(self) -> AtomicFile:
        try:
            self._open()
        except OSError as error:
            self.discard()
            raise disk_error(error, self.path, self._size) from error
        except BaseException:
            self.discard()
            raise
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        try:
            self.file.write(data)
            if not self._direct:
                self._flushed = write_behind(self.file, self._flushed)
        except OSError as error:
            raise disk_error(error, self.path, self._size) from error

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        waits = False
        try:
            if kind is None:
                self._sync()
                waits = self._group is not None and not self._direct
                if self._group is not None and waits:
                    self._group.files.append(self)
                else:
                    self.publish()
        except OSError as error:
            raise disk_error(error, self.path, self._size) from error
        finally:
            if not waits:
                self.discard()

    def _open(self) -> None:
        if self._direct:
            self._file = open(self._target, "wb")  # noqa: SIM115  # closed by `discard`
            return
        folder = self._target.parent
        free = shutil.disk_usage(folder).free
        if self._size is not None and free < self._size:
            where = escaped(str(self.path))
            raise ResourceError(f"{where}: needs {self._size} bytes, the disk has {free} free", "free some space")
        sweep(folder)
        # O_EXCL: nobody can have put a link here. 0o666: the umask decides, as for any new file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        for _ in range(ATTEMPTS):
            self._file = cast(BinaryIO, os.fdopen(os.open(self._temporary, flags, 0o666), "wb"))
            if hold(self._file, self._temporary):
                return
            self._file.close()
            self._temporary = name_beside(self._target)
        raise OSError(errno.EAGAIN, "another program removes its temporary file")

    def _sync(self) -> None:
        """Bring the content to the disk."""
        self.file.flush()
        if not self._direct:
            os.fsync(self.file.fileno())
            give_back(self.file.fileno())

    def publish(self) -> None:
        """Give the complete file its name; after this it survives a power cut."""
        if not self._direct:
            if sys.platform == "win32":  # which renames no open file
                self.file.close()
            os.replace(self._temporary, self._target)
            self.file.close()  # not before: without its lock, another process sweeps it away
            sync_folder(self._target.parent)

    def withdraw(self) -> None:
        """Remove the file under its own name again."""
        with suppress(OSError):
            self._target.unlink()

    def discard(self) -> None:
        """Close the file, and remove it where it still has its temporary name."""
        if self._file is not None:
            with suppress(OSError):  # closing flushes, and the disk may be full
                self._file.close()
            if not self._direct:
                with suppress(OSError):
                    self._temporary.unlink()
            self._file = None


class AtomicGroup:
    """Context manager: its `files`, complete ones, get their names when the block ends, or all of them are discarded.

    The last is renamed last: where it exists, all do. If a rename fails, those already renamed are removed again,
    unless they replaced other files. Raises ResourceError.
    """

    def __init__(self) -> None:
        self.files: list[AtomicFile] = []

    def __enter__(self) -> AtomicGroup:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        new: list[AtomicFile] = []
        try:
            for file in self.files if kind is None else ():
                is_new = not file.path.exists()
                file.publish()
                new += [file] if is_new else []
        except BaseException as error:
            for done in new:
                done.withdraw()
            if isinstance(error, OSError):
                raise disk_error(error, file.path) from error
            raise
        finally:
            for file in self.files:
                file.discard()


@contextmanager
def atomic_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """The file of an `AtomicFile`, for writers of small files: every OSError in the block is one of this file.

    Raises UsageError where `path` exists, unless `force`, and what `AtomicFile` raises.
    """
    if not force:
        check_absent(path)
    with AtomicFile(path) as out:
        try:
            yield out.file
        except OSError as error:
            raise disk_error(error, path) from error
