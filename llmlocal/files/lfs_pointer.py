"""Git LFS pointers: the small text files that stand for large ones in a clone made without git-lfs."""

from __future__ import annotations

from ..errors import BadFileError

BEGINNING = b"version https://git-lfs.github.com/spec/"


def check_no_pointer(head: bytes, where: str = "") -> None:
    """Raises BadFileError where a file that begins with `head` is a pointer; `where` names the file."""
    if head.startswith(BEGINNING):
        raise BadFileError(
            f"{where}{': ' * bool(where)}a Git LFS pointer, not the file itself",
            "in its repository, git lfs pull fetches it",
        )
