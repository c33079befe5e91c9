"""What the hub says: the files of a repository, their sizes and digests. The only place that loads the hub's library.

The library brings authentication, addresses and its own errors, which are turned into ours here. Its answers are not
trusted: a name that could leave the store, or a digest that is none, is as if it were not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from .. import __version__
from ..errors import LlmlocalError, NetworkError, NotFoundError
from ..text import escaped
from . import download, places
from .download import DownloadSource
from .remote_file import RemoteFile
from .safe_names import is_commit, is_digest, is_safe_file
from .transport import denied, stall_seconds

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"
MOST_BYTES = 1 << 50
FEW = 2  # tries more where nobody answers: people wait for the first word
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit. `asked` is the revision that was named, `now` its new name where it was renamed."""

    repo: str
    asked: str
    commit: str
    files: tuple[RemoteFile, ...]
    now: str | None = None
    license: str | None = None

    def source(self, file: RemoteFile) -> DownloadSource:
        """Where the bytes of a file are. The file is named by commit, so what is fetched is what was listed."""
        from huggingface_hub import constants, hf_hub_url

        _forbid_offline()
        at = places.endpoint() or constants.ENDPOINT
        headers = _headers()
        token = {name: value for name, value in headers.items() if name.lower() == "authorization"}
        rest = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        return DownloadSource(hf_hub_url(self.repo, file.name, revision=self.commit, endpoint=at), rest, token)


def listing(repo: str, revision: str | None = None) -> Listing:
    """The files of a repository. Raises NotFoundError, NetworkError."""
    _forbid_offline()
    info = _asked(
        repo, lambda api: api.model_info(repo, revision=revision, files_metadata=True, timeout=stall_seconds())
    )
    commit = info.sha
    if not is_commit(commit):
        raise NetworkError(f"{repo}: the hub names no commit", "HF_ENDPOINT names the hub")
    files = [file for sibling in info.siblings or () if (file := _file(sibling))]
    card = info.card_data
    stated = getattr(card, "license", None) if card else None
    return Listing(
        repo=repo,
        asked=revision or MAIN,
        commit=str(commit),
        files=tuple(files),
        now=escaped(str(info.id)) if str(info.id).lower() != repo.lower() else None,
        license=stated if isinstance(stated, str) else None,
    )


def _file(sibling: Any) -> RemoteFile | None:
    """A file as the hub lists it, None where something about it cannot be right."""
    lfs = sibling.lfs
    size, digest = (lfs.size, lfs.sha256) if lfs else (sibling.size, sibling.blob_id)
    if (
        type(size) is not int
        or not 0 < size < MOST_BYTES
        or not is_digest(digest)
        or not is_safe_file(sibling.rfilename)
    ):
        return None
    return RemoteFile(sibling.rfilename, size, digest)


def _headers() -> dict[str, str]:
    utils: Any = import_module("huggingface_hub.utils")  # has what it does not list as its own
    return dict(utils.build_hf_headers(library_name="llmlocal", library_version=__version__))


def _asked(repo: str, question: Callable[[HfApi], T]) -> T:
    """The answer of the hub's API, asked again while it is busy. Raises LlmlocalError's subclasses."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    unreachable: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__mro__[1:2])  # its HTTP client's own error
    api = HfApi(endpoint=places.endpoint(), library_name="llmlocal", library_version=__version__)
    failures = 0
    while True:
        try:
            return question(api)
        except HfHubHTTPError as error:
            status = error.response.status_code
            busy = status in (408, 429) or status >= 500
            known = _explained(repo, error)
        except unreachable as error:
            busy = failures < FEW
            known = NetworkError(f"the hub cannot be reached: {error}", "is there a network? a proxy?")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NetworkError(
                f"{repo}: the hub's answer makes no sense: {error}", "HF_ENDPOINT names the hub"
            ) from None
        if not busy or failures >= download.RETRIES:
            raise known
        time.sleep(download.BACKOFF * 2**failures)
        failures += 1


def _explained(repo: str, error: Any) -> LlmlocalError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return denied("GatedRepo", status)
    if isinstance(error, RevisionNotFoundError):
        return NotFoundError(f"{repo} has no such revision", "leave out @ for the newest")
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return NotFoundError(f"the hub has no repository {repo}", "if it is private, set HF_TOKEN")
    if status in (401, 403):
        return denied(None, status)
    return NetworkError(f"the hub answers {status}", "try again later")


def _forbid_offline() -> None:
    if places.offline():
        raise NetworkError("HF_HUB_OFFLINE is set, and this needs the network", "unset it to go on")
