"""Lists the files of a repository at the hub with sizes and digests, by requests of our own.

The client of huggingface_hub would ask for more than we need, and put facts about the environment into its headers.
Responses are not trusted: their size, their time and their depth are limited, and files with an unsafe name, an invalid
size or an invalid digest are left out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any
from urllib.parse import quote

from .. import __version__
from ..errors import NetworkError, NotFoundError
from ..text import escaped
from . import download, places
from .download import DownloadSource
from .remote_file import RemoteFile
from .safe_names import is_commit, is_digest, is_safe_file
from .transport import BusyError, TransientError, check_busy, denied, read_answer

MAIN = "main"
MOST_BYTES = 1 << 50
MOST_ANSWER, ANSWER_SECONDS = 16 << 20, 60.0  # bytes of a listing: some 60,000 files; seconds until it is complete
MOST_PAUSE = 10.0  # seconds of Retry-After that are respected
FEW = 2  # retries where the hub cannot be reached: the user is waiting
HEADERS = {"User-Agent": f"llmlocal/{__version__}"}  # the same for everybody


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit. `asked` is the requested revision, `now` the new name of a renamed repository."""

    repo: str
    asked: str
    commit: str
    files: tuple[RemoteFile, ...]
    now: str | None = None
    license: str | None = None

    def source(self, file: RemoteFile) -> DownloadSource:
        """The download source of a file, pinned to the listed commit."""
        _forbid_offline()
        path = f"{quote(self.repo)}/resolve/{quote(self.commit, safe='')}/{quote(file.name)}"
        return DownloadSource(f"{_endpoint()}/{path}", HEADERS, _token())


def listing(repo: str, revision: str | None = None) -> Listing:
    """The files of a repository. Raises NotFoundError, NetworkError."""
    _forbid_offline()
    at = f"/revision/{quote(revision, safe='')}" if revision else ""
    info = _parsed(repo, _asked(repo, f"{_endpoint()}/api/models/{quote(repo)}{at}?blobs=true"))
    commit, name, card, siblings = (info.get(key) for key in ("sha", "id", "cardData", "siblings"))
    if not is_commit(commit):
        raise NetworkError(f"{repo}: the hub sent no commit", "check HF_ENDPOINT")
    files = [file for sibling in siblings or () if (file := _file(sibling))] if isinstance(siblings, list) else []
    stated = card.get("license") if isinstance(card, dict) else None
    return Listing(
        repo=repo,
        asked=revision or MAIN,
        commit=str(commit),
        files=tuple(files),
        now=escaped(name) if isinstance(name, str) and name.lower() != repo.lower() else None,
        license=stated if isinstance(stated, str) else None,
    )


def _parsed(repo: str, answer: bytes) -> Mapping[str, Any]:
    """The JSON object of an answer. Raises NetworkError."""
    try:
        info = json.loads(answer)
        if not isinstance(info, dict):
            raise ValueError("not a JSON object")
    except RecursionError:
        raise NetworkError(f"{repo}: invalid response from the hub: nested too deeply", "check HF_ENDPOINT") from None
    except ValueError as error:
        message = escaped(str(error))[:200]
        raise NetworkError(f"{repo}: invalid response from the hub: {message}", "check HF_ENDPOINT") from None
    return info


def _file(sibling: Any) -> RemoteFile | None:
    """A listed file, None where its name, size or digest is invalid."""
    if not isinstance(sibling, dict):
        return None
    lfs, name = sibling.get("lfs"), sibling.get("rfilename")
    size, digest = sibling.get("size"), sibling.get("blobId")
    if lfs:
        size, digest = (lfs.get("size"), lfs.get("sha256")) if isinstance(lfs, dict) else (None, None)
    if type(size) is not int or not 0 < size < MOST_BYTES or not is_digest(digest) or not is_safe_file(name):
        return None
    return RemoteFile(str(name), size, str(digest))


def _endpoint() -> str:
    """The hub's URL."""
    if at := places.endpoint():
        return at
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _token() -> dict[str, str]:
    """The header that carries the user's token, if there is one."""
    token = places.token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _asked(repo: str, url: str) -> bytes:
    """Ask the hub's API, retrying while it is busy. Raises NetworkError, NotFoundError."""

    def check(answer: HTTPResponse, host: str) -> None:
        _check(repo, answer, host)

    failures = 0
    while True:
        try:
            return read_answer(url, HEADERS, _token(), most=MOST_ANSWER, seconds=ANSWER_SECONDS, check=check)
        except BusyError as error:
            tries, wait = download.RETRIES, min(error.wait, MOST_PAUSE)
            known = NetworkError(str(error), "try again later")
        except TransientError as error:
            tries, wait = FEW, 0.0
            message = f"the hub cannot be reached: {error}"
            known = NetworkError(message, "check the network connection and proxy settings")
        if failures >= tries:
            raise known
        time.sleep(max(wait, download.BACKOFF * 2**failures))
        failures += 1


def _check(repo: str, answer: HTTPResponse, host: str) -> None:
    """Raises for every status but 200, in the words for a repository."""
    status, code = answer.status, answer.headers.get("X-Error-Code")
    if status == 200:
        return
    check_busy(answer, host)
    if code == "GatedRepo":
        raise denied(code, status)
    if code == "RevisionNotFound":
        raise NotFoundError(f"{repo}: revision not found", "leave out @REVISION for the newest")
    refused = status == 401 and "Invalid credentials" in answer.headers.get("X-Error-Message", "")
    if code == "RepoNotFound" or status == 404 or (status == 401 and not refused):  # 401: private, or not there
        raise NotFoundError(f"repository {repo} not found", "check the name; for a private repository set HF_TOKEN")
    if status in (401, 403):
        raise denied(None, status)
    raise NetworkError(f"the hub responded with status {status}", "try again later")


def _forbid_offline() -> None:
    if places.offline():
        raise NetworkError(
            "offline mode is on, but this needs the network", "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
        )
