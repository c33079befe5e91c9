"""One streamed HTTP GET: redirects, proxies, TLS, limits of time, and a token that is sent to the hub only.

Uses http.client because it reads into our buffer: twice as fast as the client of huggingface_hub.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from threading import Timer
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import LlmlocalError, NetworkError, NotFoundError, UsageError
from ..text import escaped

MOST_REDIRECTS = 5
STALL_SECONDS = 20.0  # without a byte; HF_HUB_DOWNLOAD_TIMEOUT overrides it
MOST_WAIT = 120.0  # seconds of Retry-After that are respected
HEADER_SECONDS = 60.0  # for all that comes before the body, redirects included
_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class TransientError(Exception):
    """An error worth a retry; `wait` is the delay in seconds that the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class BusyError(TransientError):
    """The server answered that it cannot serve the request now."""


class _Deadline:
    """Shuts the watched connection when the time is over. A context manager."""

    def __init__(self, seconds: float) -> None:
        self.expired, self.seconds = False, seconds
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._timer = Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._timer.cancel()

    def watch(self, connection: http.client.HTTPConnection) -> None:
        """Once before the connection is opened, and once after: a body that ends it makes it forget its socket."""
        self._connection, self._socket = connection, connection.sock

    def check(self, host: str | None) -> None:
        """Raises NetworkError where the time is over."""
        if self.expired:
            raise NetworkError(f"{host} took longer than {self.seconds:g} s to answer", "check HF_ENDPOINT")

    def _expire(self) -> None:
        self.expired = True
        open_socket = self._socket or (self._connection.sock if self._connection else None)
        if open_socket is not None:
            with suppress(OSError):
                # Not SSLSocket's own: it would drop the TLS state that the reading thread is in.
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)


Check = Callable[[http.client.HTTPResponse, str], None]


@contextmanager
def opened(
    url: str,
    headers: Mapping[str, str],
    token: Mapping[str, str],
    *,
    first: int = 0,
    last: int | None = None,
    seconds: float | None = None,
    check: Check | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """The response to a GET of bytes first..last, status 200, 206 or 416. `token` is sent to the origin of `url` only.

    Everything before the body must arrive within HEADER_SECONDS, with `seconds` the body too within that time. `check`
    judges the status in place of the rules here. Raises TransientError for errors worth a retry (also while the body
    is read in the block), NotFoundError for 404 and 410, NetworkError for all others.
    """
    headers = {"Accept-Encoding": "identity", **headers}
    if first or last is not None:
        headers["Range"] = f"bytes={first}-{'' if last is None else last}"
    home, at = urlsplit(url), url
    with _Deadline(seconds or HEADER_SECONDS) as deadline:
        try:
            for _ in range(MOST_REDIRECTS + 1):
                where = _checked(at, home)
                same = (where.scheme, where.netloc) == (home.scheme, home.netloc)
                connection = _request(where, {**headers, **(token if same else {})}, deadline)
                try:
                    answer = connection.getresponse()
                    deadline.check(where.hostname)
                    if answer.status in (301, 302, 303, 307, 308):
                        at = _joined(at, answer.headers.get("Location", ""))
                        continue
                    (check or _check)(answer, str(where.hostname))
                    _check_encoding(answer, str(where.hostname))
                    if seconds is None:
                        deadline.stop()
                    yield answer
                    deadline.check(where.hostname)
                    return
                finally:
                    connection.close()
        except (OSError, http.client.HTTPException, TransientError) as error:
            deadline.check(home.hostname)
            raise error if isinstance(error, TransientError) else _explained(error) from error
    raise NetworkError(f"more than {MOST_REDIRECTS} redirects from {home.hostname}")


def read_answer(
    url: str, headers: Mapping[str, str], token: Mapping[str, str], *, most: int, seconds: float, check: Check
) -> bytes:
    """The body of the response to a GET, at most `most` bytes within `seconds`. Raises as `opened` does."""
    with opened(url, headers, token, seconds=seconds, check=check) as answer:
        data = answer.read(most + 1)
        if len(data) > most or (answer.length or 0) > most:
            raise NetworkError(f"{urlsplit(url).hostname} sent more than {most} bytes", "check HF_ENDPOINT")
        if answer.length:
            raise TransientError("the connection was closed early")
        return data


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


def _request(where: SplitResult, headers: dict[str, str], deadline: _Deadline) -> http.client.HTTPConnection:
    """Send the request, through the proxy that the environment names, if any."""
    proxy = _proxy(where)
    host, port = where.hostname or "", where.port
    reached = proxy or where
    secure = where.scheme == "https"
    kind = _Secure if secure else http.client.HTTPConnection
    connection = kind(reached.hostname or "", reached.port or (80 if proxy else None), timeout=stall_seconds())
    deadline.watch(connection)
    path = (where.path or "/") + (f"?{where.query}" if where.query else "")
    if proxy:
        login = _login(proxy)
        if secure:
            connection.set_tunnel(host, port, login)
        else:
            path, headers = f"http://{where.netloc}{path}", {**headers, **login}
    try:
        connection.request("GET", path, headers=headers)
        deadline.watch(connection)
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


def _check(answer: http.client.HTTPResponse, host: str) -> None:
    """Raises for every status other than 200, 206 and 416."""
    status = answer.status
    check_busy(answer, host)
    if status in (401, 403):
        raise denied(answer.headers.get("X-Error-Code"), status)
    if status in (404, 410):
        raise NotFoundError(f"file not found at {host}", "pull again to refresh the list of files")
    if status not in (200, 206, 416):
        raise NetworkError(f"{host} responded with status {status}")


def check_busy(answer: http.client.HTTPResponse, host: str) -> None:
    """Raises BusyError for a status that says to try again."""
    if answer.status in _AGAIN:
        asked = answer.headers.get("Retry-After", "")
        wait = min(float(asked), MOST_WAIT) if asked.isdecimal() else 0.0
        raise BusyError(f"{host} responded with status {answer.status}", wait)


def _check_encoding(answer: http.client.HTTPResponse, host: str) -> None:
    """Raises NetworkError for compressed content: a small one could unpack to any size."""
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
