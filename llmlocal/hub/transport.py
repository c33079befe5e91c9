"""One streamed HTTP GET: redirects, proxies, TLS, and a token that is sent to the hub only.

Uses http.client because it reads into our buffer: twice as fast as the client of huggingface_hub.
"""

from __future__ import annotations

import base64
import http.client
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import LlmlocalError, NetworkError, NotFoundError, UsageError
from ..text import escaped

MOST_REDIRECTS = 5
STALL_SECONDS = 20.0  # without a byte; HF_HUB_DOWNLOAD_TIMEOUT overrides it
MOST_WAIT = 120.0  # seconds of Retry-After that are respected
_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class TransientError(Exception):
    """An error worth a retry; `wait` is the delay in seconds that the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@contextmanager
def opened(
    url: str, headers: Mapping[str, str], token: Mapping[str, str], *, first: int = 0, last: int | None = None
) -> Iterator[http.client.HTTPResponse]:
    """The response to a GET of bytes first..last, status 200, 206 or 416. `token` is sent to the origin of `url` only.

    Raises TransientError for errors worth a retry (also while the body is read in the block), NotFoundError for 404
    and 410, NetworkError for all others.
    """
    headers = {"Accept-Encoding": "identity", **headers}
    if first or last is not None:
        headers["Range"] = f"bytes={first}-{'' if last is None else last}"
    home, at = urlsplit(url), url
    try:
        for _ in range(MOST_REDIRECTS + 1):
            where = _checked(at, home)
            same = (where.scheme, where.netloc) == (home.scheme, home.netloc)
            connection = _request(where, {**headers, **(token if same else {})})
            try:
                answer = connection.getresponse()
                if answer.status in (301, 302, 303, 307, 308):
                    at = _joined(at, answer.headers.get("Location", ""))
                    continue
                _check(answer, where)
                yield answer
                return
            finally:
                connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise _explained(error) from error
    raise NetworkError(f"more than {MOST_REDIRECTS} redirects from {home.hostname}")


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return ""  # refused as an invalid URL


def stall_seconds() -> float:
    """Seconds without a byte after which a connection counts as stalled. Raises UsageError."""
    text = os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "")
    try:
        return float(text) if text else STALL_SECONDS
    except ValueError:
        raise UsageError(f"HF_HUB_DOWNLOAD_TIMEOUT is {escaped(text)}: must be a number of seconds") from None


def _checked(url: str, home: SplitResult) -> SplitResult:
    """The parts of a URL that may be followed: https, or http where the hub's own URL is http."""
    try:
        where = urlsplit(url)
        _ = where.port
    except ValueError:
        raise NetworkError("the hub redirects to an invalid URL") from None
    schemes = ("https", "http") if home.scheme == "http" else ("https",)
    if where.scheme not in schemes or not where.hostname:
        target = escaped(f"{where.scheme}://{where.netloc}"[:80])
        raise NetworkError(
            f"refused a redirect to {target}: only {' or '.join(schemes)} is allowed", "check HF_ENDPOINT"
        )
    return where


def _request(where: SplitResult, headers: dict[str, str]) -> http.client.HTTPConnection:
    """Send the request, through the proxy that the environment names, if any."""
    proxy = _proxy(where)
    host, port = where.hostname or "", where.port
    reached = proxy or where
    secure = where.scheme == "https"
    kind = _Secure if secure else http.client.HTTPConnection
    connection = kind(reached.hostname or "", reached.port or (80 if proxy else None), timeout=stall_seconds())
    path = (where.path or "/") + (f"?{where.query}" if where.query else "")
    if proxy:
        login = _login(proxy)
        if secure:
            connection.set_tunnel(host, port, login)
        else:
            path, headers = f"http://{where.netloc}{path}", {**headers, **login}
    try:
        connection.request("GET", path, headers=headers)
    except BaseException:
        connection.close()
        raise
    return connection


class _Secure(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int | None, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout, context=_trust())


@cache
def _trust() -> ssl.SSLContext:
    """TLS context with the system's certificates or those the user names; where there are none, with certifi's."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    context = ssl.create_default_context(cafile=named or None)
    if not context.cert_store_stats()["x509_ca"] and not os.environ.get("SSL_CERT_DIR"):
        try:
            import certifi
        except ImportError:
            return context
        context.load_verify_locations(certifi.where())
    return context


def _proxy(where: SplitResult) -> SplitResult | None:
    """The proxy for a URL by the standard environment variables, None for a direct connection."""
    proxies = getproxies()
    named = proxies.get(where.scheme) or proxies.get("all")
    if not named or proxy_bypass(where.netloc.rpartition("@")[2]):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise UsageError(f"proxy {escaped(named.rpartition('@')[2])}: only http:// proxies are supported")
    return proxy


def _login(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(words.encode()).decode()}


def _check(answer: http.client.HTTPResponse, where: SplitResult) -> None:
    """Raises for every status other than 200, 206 and 416."""
    status, host = answer.status, where.hostname
    if status in _AGAIN:
        asked = answer.headers.get("Retry-After", "")
        raise TransientError(
            f"{host} responded with status {status}", min(float(asked), MOST_WAIT) if asked.isdecimal() else 0.0
        )
    if status in (401, 403):
        raise denied(answer.headers.get("X-Error-Code"), status)
    if status in (404, 410):
        raise NotFoundError(f"file not found at {host}", "pull again to refresh the list of files")
    if status not in (200, 206, 416):
        raise NetworkError(f"{host} responded with status {status}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise NetworkError(f"{host} sent compressed content, which was not requested")


def denied(code: str | None, status: int) -> NetworkError:
    """The error for a response of 401 or 403, with what to do."""
    if code == "GatedRepo":
        return NetworkError(
            "the repository is gated", "accept its terms on its web page, then set HF_TOKEN to a token of that account"
        )
    return NetworkError(f"access denied ({status})", "set HF_TOKEN to a token with read access to the repository")


def _explained(error: Exception) -> LlmlocalError | TransientError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return NetworkError(
            f"the TLS certificate is not trusted: {error.verify_message}",
            "set SSL_CERT_FILE to a file with the right one",
        )
    if isinstance(error, TimeoutError):
        return TransientError(f"no data for {stall_seconds():g} s")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return TransientError(reason)
