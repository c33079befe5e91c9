"""Who may ask a server: by the name of its host, the origin of a page, an API key, and from other machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from served import PATIENCE, Served, running, sent, server, tiny  # noqa: F401  fixtures

from llmlocal.errors import BadFileError, NotFoundError, ResourceError, UsageError
from llmlocal.serving.http.guard import read_keys
from llmlocal.serving.run import Listener

KEY = "0123456789abcdef"
CHAT = {"messages": [{"role": "user", "content": "the dog"}], "max_tokens": 2}


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "LOCALHOST", "127.0.0.1"])
def test_names_of_this_machine_are_let_in(server: Served, host: str) -> None:  # noqa: F811
    assert server.ask("GET", "/health", headers={"Host": host}) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "169.254.1.1", "a@b", "::"]
)
def test_other_names_are_not(server: Served, host: str) -> None:  # noqa: F811
    """DNS rebinding: a page that made its own name point here sends that name."""
    assert server.ask("GET", "/v1/models", headers={"Host": host})[0] == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:1", "file://", "http://[", "", "http://127.0.0.1.evil.example"],
)
def test_pages_of_other_origins_are_refused(server: Served, origin: str) -> None:  # noqa: F811
    status, headers, _ = server.raw("GET", "/v1/models", headers={"Origin": origin})
    assert status == 403 and not [name for name in headers if name.startswith("access-control")]


def test_pages_of_this_server_are_let_in(server: Served) -> None:  # noqa: F811
    status, headers, _ = server.raw("GET", "/v1/models", headers={"Origin": server.url})
    assert status == 200 and not [name for name in headers if name.startswith("access-control")]
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_forms_of_pages_are_refused(server: Served, kind: str) -> None:  # noqa: F811
    """What a page may send without asking first."""
    status, _ = server.ask("POST", "/v1/chat/completions", json.dumps(CHAT).encode(), {"content-type": kind})
    assert status == 415


@pytest.mark.parametrize(
    ("header", "want"), [("", 200), ("Origin: {url}\r\n", 415), ("Sec-Fetch-Site: cross-site\r\n", 415)]
)
def test_programs_may_leave_the_type_out(server: Served, header: str, want: int) -> None:  # noqa: F811
    """As litellm does for Ollama; of a browser such a body may be a page's of any origin."""
    body = b'{"prompt": "the dog", "max_tokens": 1}'
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{header.format(url=server.url)}"
    answer = sent(server, f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    assert answer.startswith(f"HTTP/1.1 {want}".encode()), answer


def test_a_key_opens_the_server(tiny: Path) -> None:  # noqa: F811
    routes = [("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/v1/chat/completions"), ("POST", "/tokenize")]
    with running({"tiny": tiny}, (KEY, "another key of mine")) as served:
        assert served.ask("GET", "/health")[0] == 200
        for given in ({}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": KEY}, {"x-api-key": KEY[:-1]}):
            assert {served.ask(method, path, headers=given)[0] for method, path in routes} == {401}
        for given in ({"Authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}, {"authorization": "bearer " + KEY}):
            assert served.ask("GET", "/v1/models", headers=given)[0] == 200
        assert served.ask("POST", "/v1/chat/completions", CHAT, {"x-api-key": "another key of mine"})[0] == 200
        double = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nx-api-key: x\r\nx-api-key: %s\r\n\r\n" % KEY.encode()
        assert sent(served, double).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "127.example.org"])
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(UsageError, match="lets other machines in"):
        Listener.open(host, 0, None)


def test_keys_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# mine\n  # and this is none\n{KEY}\n\n  second-key-of-mine \n")
    assert read_keys(path) == [KEY, "second-key-of-mine"]
    for text in ("", "# none\n", "short\n", f"{KEY}\nshort\n", "a key with a letter ä in it\n"):
        path.write_text(text)
        with pytest.raises(BadFileError, match="no usable API key"):
            read_keys(path)
    with pytest.raises(NotFoundError):
        read_keys(tmp_path / "nothing")
    path.write_bytes(b"\xff" * 20)
    for other in (path, tmp_path, Path("/dev/zero")):
        with pytest.raises(BadFileError, match=r"not UTF-8|cannot be read|larger than"):
            read_keys(other)


def test_a_port_that_is_taken_is_named() -> None:
    first = Listener.open("127.0.0.1", 0, None)
    with first.socket, pytest.raises(ResourceError, match=r"cannot listen on 127\.0\.0\.1"):
        Listener.open("127.0.0.1", first.socket.getsockname()[1], None)
