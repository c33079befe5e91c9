"""What is asked of a hub, and through what: tokens, headers, proxies, moved and gated repositories."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fake_hub as f
import pytest
from fake_hub import FakeHub
from hubs import REPO
from pulled import DATA, MODEL, NAME, pointer, whole

from llmlocal import __version__
from llmlocal.errors import NetworkError, UsageError
from llmlocal.hub import names, places, pull, transport
from llmlocal.hub.download import DownloadSource

Said = Callable[..., tuple[int, str, str]]


def test_token_goes_to_the_hub_alone(said: Said, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with f.running() as other, f.running(cdn=other.url) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add(REPO, {NAME: DATA}, gated=True)
        other.add(REPO, {NAME: DATA})
        assert said("pull", MODEL)[0] == 0
        whole(store)
        assert {r.headers.get("authorization") for r in hub.requests} == {"Bearer hf_secret"}
        assert other.requests
        assert not [r for r in other.requests if "hf_secret" in str(r.headers)]


AGENTS = ("AI_AGENT", "CLAUDECODE", "CURSOR_TRACE_ID", "GEMINI_CLI", "CODEX_SANDBOX", "HF_HUB_USER_AGENT_ORIGIN", "CI")


def test_nothing_is_told_of_the_environment(
    said: Said, hub: FakeHub, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requests are those that docs/security.md lists, and their headers are the same on every machine."""
    for name in AGENTS:
        monkeypatch.setenv(name, "marker-of-the-environment")
    hub.add(REPO, {NAME: DATA})
    assert said("show", MODEL)[0] == 0
    assert said("pull", MODEL)[0] == 0
    assert said("pull", f"{MODEL}@v1", "--force")[0] == 0
    kinds = {re.sub("[0-9a-f]{40,}", "HASH", request.path.replace(REPO, "REPO")) for request in hub.requests}
    assert kinds == {
        "/api/models/REPO?blobs=true",
        "/api/models/REPO/revision/v1?blobs=true",
        f"/REPO/resolve/HASH/{NAME}",
        "/cdn/HASH?signature=1",
    }
    for request in hub.requests:
        assert request.method == "GET"
        assert set(request.headers) <= {"host", "user-agent", "accept-encoding", "range"}
        assert request.headers["user-agent"] == f"llmlocal/{__version__}"
        assert "marker" not in str(request.headers) and request.headers["accept-encoding"] == "identity"


def test_token_is_found_where_the_hubs_library_puts_it(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert places.token() is None
    (tmp_path / "token").write_text(" hf_file\n")
    monkeypatch.delenv("HF_TOKEN_PATH")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert places.token() == "hf_file"
    monkeypatch.setenv("HF_TOKEN", "hf_named\n")
    assert places.token() == "hf_named"
    for wrong in ("a\r\nX: y", "caf\u00e9"):
        monkeypatch.setenv("HF_TOKEN", wrong)
        with pytest.raises(UsageError, match="the token for the hub"):
            places.token()
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert places.token() is None


def test_gated_missing_and_renamed(said: Said, hub: FakeHub, store: Path) -> None:
    hub.add(REPO, {NAME: DATA}, gated=True)
    code, _, err = said("pull", MODEL)
    assert (code, "gated" in err, "HF_TOKEN" in err) == (4, True, True)
    code, _, err = said("pull", "hf:org/none")
    assert code in (3, 4)
    hub.repos.clear()
    hub.add(REPO, {"README.md": b"nothing"})
    code, _, err = said("pull", f"hf:{REPO}")
    assert (code, "no usable GGUF file" in err) == (3, True)
    hub.add(REPO, {NAME: DATA})
    code, _, err = said("pull", f"hf:{REPO}:Q4_K_M")
    assert (code, "it has Q8_0" in err) == (3, True)
    assert said("pull", f"{MODEL}@v9")[0] == 3
    assert said("pull", f"{MODEL}@v1")[0] == 0
    hub.repos["old/name"] = replace(hub.repos[REPO], renamed_to=REPO)
    code, out, err = said("pull", "hf:old/name:Q8_0")
    assert (code, f"old/name is now called {REPO}" in err) == (0, True)
    assert names.find_local("hf:old/name:Q8_0") == Path(out.strip())


def test_offline(said: Said, hub: FakeHub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, {NAME: DATA})
    assert said("pull", MODEL)[0] == 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.requests.clear()
    code, _, err = said("pull", MODEL)
    assert (code, "HF_HUB_OFFLINE" in err) == (4, True)
    assert said("path", MODEL)[:2] == (0, f"{pointer(store)}\n")
    assert not hub.requests


def test_proxy(said: Said, hub: FakeHub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy gets the whole address and its own login; the header of a file is enough to see it."""
    hub.add(REPO, {NAME: DATA})
    plan = pull.plan(MODEL)
    source = plan.listing.source(plan.variant.files[0])
    with f.running() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:p%40ss@"))
        monkeypatch.setattr(transport, "proxy_bypass", lambda _: False)
        with pytest.raises(NetworkError, match="401"):
            source.read(0, 10)
        assert proxy.requests[0].path.startswith(hub.url)
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="
    monkeypatch.setattr(transport, "proxy_bypass", lambda _: True)
    assert source.read(0, 4) == b"GGUF"


def test_proxy_for_https_is_a_tunnel(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy learns the host and its own login, and nothing of what is asked there."""
    with f.running() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:pass@"))
        with pytest.raises(NetworkError, match="407"):
            DownloadSource("https://hub.example/secret", {}, {"Authorization": "Bearer x"}).read(0, 1)
        assert {(r.method, r.path) for r in proxy.requests} == {("CONNECT", "hub.example:443")}
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
        assert "Bearer" not in str(proxy.requests[0].headers)


def test_socks_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://me:pass@127.0.0.1:1")
    with pytest.raises(UsageError, match="only http") as caught:
        DownloadSource("https://hub.example/", {}, {}).read(0, 1)
    assert "pass" not in str(caught.value)


def test_https_is_never_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.parse import urlsplit

    for url in ("http://127.0.0.1/x", "ftp://a/b", "file:///etc/passwd", "//", "https:///x", ""):
        with pytest.raises(NetworkError):
            transport._checked(url, urlsplit("https://hub.example"))
