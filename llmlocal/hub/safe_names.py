"""An allow-list for names from a server that become paths on this machine."""

from __future__ import annotations

import re

MOST_PARTS, MOST_CHARACTERS = 8, 400
_PART = re.compile(r"[\w+=@(\[][\w+=@()\[\], .~-]{0,199}", re.ASCII)
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # names that Windows reserves for devices
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REVISION = re.compile(r"[\w][\w.+-]{0,99}(/[\w][\w.+-]{0,99}){0,4}", re.ASCII)


def is_safe_file(name: object) -> bool:
    """Whether a repository's file name (parts separated by /) is safe as a relative path."""
    if not isinstance(name, str) or len(name) > MOST_CHARACTERS:
        return False
    parts = name.split("/")
    return len(parts) <= MOST_PARTS and all(
        _PART.fullmatch(part) and not part.endswith((".", " ")) and not _DEVICES.fullmatch(part) for part in parts
    )


def is_commit(text: object) -> bool:
    """Whether this is a full commit hash: 40 lower-case hex digits."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def is_digest(text: object) -> bool:
    """Whether this is a sha256 or sha1 in lower-case hex digits."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def is_revision(text: str) -> bool:
    """Whether a branch or tag is safe as a file name in the store's `refs` folder."""
    return bool(_REVISION.fullmatch(text)) and ".." not in text and not text.endswith((".", ".lock"))
