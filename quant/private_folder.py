"""Whether a folder or file is this user's alone: what another user could have written is neither run nor read.

On POSIX systems owner and mode of every folder from the root down are checked. On Windows, where modes say nothing, a
path must lie in the user's profile, which the system protects from other users.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

MAX_LINKS = 40
WRITABLE = "can be written by other users"
ELSEWHERE = "does not lie in your user profile"


def why_foreign(folder: Path) -> str | None:
    """Why `folder` could hold what another user wrote, None where it is ours alone or can be made so.

    Folders above it may also belong to root and, with the sticky bit, be open to all, as /tmp is. A folder that does
    not exist yet is judged by those above it.
    """
    if os.name == "nt":
        return _why_foreign_on_windows(folder)
    at, names, links = Path("/"), list(reversed(folder.absolute().parts[1:])), 0
    try:
        state = os.lstat(at)
        while True:
            if reason := _why_others(at, state, above=bool(names)):
                return reason
            if not names:
                return None
            name = names.pop()
            above, at = at, at.parent if name == ".." else at / name
            state = os.lstat(at)
            if stat.S_ISLNK(state.st_mode):
                links += 1
                if links > MAX_LINKS:
                    return f"{at}: too many links"
                if state.st_uid not in _trusted():
                    return f"{at} belongs to another user"
                target = Path(os.readlink(at))
                names += reversed(target.parts[1:] if target.is_absolute() else target.parts)
                at = Path("/") if target.is_absolute() else above
                state = os.lstat(at)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{at}: {error.strerror}"


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone (0700). Raises OSError."""
    for at in reversed([above for above in folder.parents if not above.exists()]):
        at.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def why_foreign_file(path: Path, handle: int) -> str | None:
    """Why the open file `handle`, found at `path`, could have been written by another user; None where it is ours."""
    if os.name == "nt":
        return _why_foreign_on_windows(path)
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode):
        return f"{path} is not a regular file"
    return _why_others(path, state, above=False)


def read_private(path: Path) -> bytes | None:
    """The content of a regular file that is ours alone; None where there is none."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with suppress(OSError), os.fdopen(os.open(path, flags), "rb") as file:
        if why_foreign_file(path, file.fileno()) is None:
            return file.read()
    return None


def _why_others(path: Path, state: os.stat_result, *, above: bool) -> str | None:
    """`above`: the path is a folder above the one in question."""
    if state.st_uid != os.geteuid() and not (above and state.st_uid in _trusted()):
        return f"{path} belongs to another user"
    if above and state.st_mode & stat.S_ISVTX:
        return None  # only the owner of an entry can rename or replace it
    if state.st_mode & stat.S_IWOTH or (state.st_mode & stat.S_IWGRP and not _is_own_group(path, state.st_gid)):
        return f"{path} {WRITABLE}"
    return None


def _trusted() -> tuple[int, ...]:
    """Users who can do everything anyway. In a user namespace root's own files can have another owner."""
    return 0, os.geteuid(), os.stat("/").st_uid


def _is_own_group(path: Path, group: int) -> bool:
    """Whether only this user is in the group, as systems with a group for each user have it, and no ACL adds others."""
    # With an ACL the mode's group bits are the upper bound of what the ACL grants.
    if hasattr(os, "getxattr"):
        with suppress(OSError):
            os.getxattr(path, "system.posix_acl_access")
            return False
    return _has_only_us(group)


@cache
def _has_only_us(group: int) -> bool:
    import grp
    import pwd

    try:
        own, entry = pwd.getpwuid(os.geteuid()), grp.getgrgid(group)
        others = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == group} - {own.pw_uid}
    except KeyError:
        return False
    return entry.gr_name == own.pw_name and set(entry.gr_mem) <= {own.pw_name} and not others


def _why_foreign_on_windows(path: Path) -> str | None:
    profile = os.environ.get("USERPROFILE")
    ours = profile and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(profile))
    return None if ours else f"{path} {ELSEWHERE}"
