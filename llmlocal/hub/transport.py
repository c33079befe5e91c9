"""One GET over HTTP, streamed: redirects, proxies, TLS, and a token that never leaves the hub. Knows no files.

The standard library's client, because it reads into our buffer: twice as fast as the one that the hub's library has.
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
STALL_SECONDS = 20.0  # without a byte; HF_HUB_DOWNLOAD_TIMEOUT says otherwise
MOST_WAIT = 120.0  # seconds that a server can make us wait by Retry-After
_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class TransientError(Exception):
    """It may work the next time; `wait` are the seconds that the server asks for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@contextmanager
def opened(
    url: str, headers: Mapping[str, str], token: Mapping[str, str], *, first: int = 0, last: int | None = None
) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET of bytes first..last: status 200 or 206, or 416. `token` goes to `url`'s own origin only.

    Raises TransientError for what may pass (also out of the block, while the answer is read), NotFoundError for 404,
    NetworkError for all else.
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
        return ""  # is refused as an address


def stall_seconds() -> float:
    """How long a server may be silent."""
    text = os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT", "")
    try:
        return float(text) if text else STALL_SECONDS
    except ValueError:
        raise UsageError(f"HF_HUB_DOWNLOAD_TIMEOUT is {escaped(text)}: must be seconds") from None


def _checked(url: str, home: SplitResult) -> SplitResult:
    """The parts of a URL that may be followed. Plain HTTP only where the hub itself was named so."""
    try:
        where = urlsplit(url)
        _ = where.port
    except ValueError:
        raise NetworkError("the hub redirects to no address") from None
    schemes = ("https", "http") if home.scheme == "http" else ("https",)
    if where.scheme not in schemes or not where.hostname:
        target = escaped(f"{where.scheme}://{where.netloc}"[:80])
        raise NetworkError(f"{target} is not followed: only {' or '.join(schemes)} is", "HF_ENDPOINT names the hub")
    return where


def _request(where: SplitResult, headers: dict[str, str]) -> http.client.HTTPConnection:
    """Send the request, through a proxy where the environment names one."""
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
    """The system's certificates, or those that the user names; with none of either, those of a Python package."""
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
    """The proxy for an address, by the usual variables."""
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
    """Raises for every status that is no answer to a request for bytes."""
    status, host = answer.status, where.hostname
    if status in _AGAIN:
        asked = answer.headers.get("Retry-After", "")
        raise TransientError(f"{host} answers {status}", min(float(asked), MOST_WAIT) if asked.isdecimal() else 0.0)
    if status in (401, 403):
        raise denied(answer.headers.get("X-Error-Code"), status)
    if status in (404, 410):
        raise NotFoundError(f"{host} has no such file (any more)", "pull again to see what it has")
    if status not in (200, 206, 416):
        raise NetworkError(f"{host} answers {status}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise NetworkError(f"{host} sends compressed bytes that were not asked for")


def denied(code: str | None, status: int) -> NetworkError:
    """What to do about a hub that wants to know who asks."""
    if code == "GatedRepo":
        return NetworkError(
            "the repository is gated", "accept its terms on its page, then set HF_TOKEN to a token of that account"
        )
    return NetworkError(f"the hub refuses ({status})", "set HF_TOKEN to a token that may read the repository")


def _explained(error: Exception) -> LlmlocalError | TransientError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return NetworkError(f"the certificate is not trusted: {error.verify_message}", "SSL_CERT_FILE names others")
    if isinstance(error, TimeoutError):
        return TransientError(f"no byte for {stall_seconds():g} s")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return TransientError(reason)
