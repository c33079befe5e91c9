"""Lists the files of a repository at the hub with sizes and digests. The only file that imports huggingface_hub.

The library does authentication and URLs; its errors are converted to ours. Responses are not trusted: files with an
unsafe name, an invalid size or an invalid digest are left out.
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
FEW = 2  # retries where the hub cannot be reached: the user is waiting
T = TypeVar("T")


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
        raise NetworkError(f"{repo}: the hub sent no commit", "check HF_ENDPOINT")
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
    """A listed file, None where its name, size or digest is invalid."""
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
    utils: Any = import_module("huggingface_hub.utils")  # build_hf_headers is missing from its __all__
    return dict(utils.build_hf_headers(library_name="llmlocal", library_version=__version__))


def _asked(repo: str, question: Callable[[HfApi], T]) -> T:
    """Call the hub's API, retrying while it is busy. Raises NetworkError, NotFoundError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    unreachable: tuple[type[Exception], ...] = (
        OSError,
        *HfHubHTTPError.__mro__[1:2],
    )  # the base class of its HTTP client's errors
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
            known = NetworkError(
                f"the hub cannot be reached: {error}", "check the network connection and proxy settings"
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NetworkError(f"{repo}: invalid response from the hub: {error}", "check HF_ENDPOINT") from None
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
        return NotFoundError(f"{repo}: revision not found", "leave out @REVISION for the newest")
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return NotFoundError(f"repository {repo} not found", "check the name; for a private repository set HF_TOKEN")
    if status in (401, 403):
        return denied(None, status)
    return NetworkError(f"the hub responded with status {status}", "try again later")


def _forbid_offline() -> None:
    if places.offline():
        raise NetworkError(
            "offline mode is on, but this needs the network", "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
        )
