"""The page at `/`: what it may load, and, in a browser, a conversation on it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, browser
from served import Served, running, says, server, tiny  # noqa: F401  fixtures

from llmlocal.serving.page import policy, source

Says = Callable[..., None]
KEY = "0123456789abcdef"
EVIL = "<img src=x onerror=document.title='evil'><b>bold</b>"


def test_the_page_has_a_strict_policy(server: Served) -> None:  # noqa: F811
    status, headers, data = server.raw("GET", "/")
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    assert data.decode() == source()
    parts = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert parts["default-src"] == parts["base-uri"] == parts["form-action"] == parts["frame-ancestors"] == "'none'"
    assert parts["connect-src"] == "'self'"
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", source(), re.DOTALL)
        assert parts[f"{tag}-src"] == f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def test_the_page_loads_nothing_and_inserts_text_as_text() -> None:
    words = ("http:", "https:", "//", "innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "import(")
    assert not [word for word in words if word in source()]
    assert not re.findall(r"\s(?:src|href|style|on\w+)=", source()) and "unsafe" not in policy()
    for id in re.findall(r'at\("(\w+)"\)', source()):
        assert f'id="{id}"' in source()


def test_the_page_is_open_where_a_key_is_needed(tiny: Path) -> None:  # noqa: F811
    with running({"tiny": tiny}, (KEY,)) as served:
        assert served.ask("GET", "/")[0] == 200 and served.ask("GET", "/v1/models")[0] == 401


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.mark.slow
@needs_browser
def test_a_conversation_in_a_browser(server: Served, says: Says, tmp_path: Path, monkeypatch: Any) -> None:  # noqa: F811
    asked: list[Any] = []
    submit = server.model.scheduler.submit
    monkeypatch.setattr(server.model.scheduler, "submit", lambda r, d: asked.append(r.prompt.text) or submit(r, d))
    with browser(tmp_path) as page:
        page.call("Page.navigate", url=server.url)
        page.until("document.readyState == 'complete' && document.getElementById('model').options.length == 1")
        assert page.script("document.activeElement.id") == "question"
        says(f"<think>let me see</think>it is {EVIL}")
        page.call("Input.insertText", text=f"why {EVIL}")
        page.key("Enter")
        page.until("/ tokens\\/s/.test(document.getElementById('status').textContent) && !stopper")
        articles = "[...document.querySelectorAll('article')].map((a) => a.lastChild.textContent)"
        assert page.script(articles) == [f"why {EVIL}", f"it is {EVIL}"]
        assert page.script("document.querySelectorAll('article img, article b').length") == 0
        assert page.script("document.querySelector('details').textContent") == "Thoughtslet me see"
        assert page.script("document.title") == "llmlocal"
        monkeypatch.undo()  # the model speaks for itself, until it is stopped
        generated = server.model.scheduler.counts.generated_tokens
        monkeypatch.setattr("llmlocal.serving.options._biases", lambda *_: {2: -100.0})
        page.call("Input.insertText", text="and then?")
        page.key("Enter")
        page.until("document.querySelectorAll('article').length == 4 && !document.getElementById('stop').hidden")
        page.key("Escape")
        page.until("!stopper && document.getElementById('status').textContent.endsWith('stopped')")
        server.quiet()
        assert server.model.scheduler.counts.generated_tokens - generated < 400
        assert page.script("document.activeElement.id") == "question"
        page.script("document.getElementById('clear').click()")
        assert page.script("document.querySelectorAll('article').length + messages.length") == 0
        assert page.errors == []
        page.call("Runtime.evaluate", expression="document.body.insertAdjacentHTML('beforeend', '<img src=/health>')")
        page.script("new Promise((done) => setTimeout(done, 100))")
        assert "Content Security Policy" in str(page.errors)


@pytest.mark.slow
@needs_browser
def test_the_page_asks_for_a_key_and_is_readable_in_the_dark(tiny: Path, tmp_path: Path) -> None:  # noqa: F811
    with running({"tiny": tiny}, (KEY,)) as served, browser(tmp_path) as page:
        colour = "getComputedStyle(document.body).backgroundColor"
        seen = []
        for scheme in ("light", "dark"):
            page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            page.call("Page.navigate", url=served.url)
            page.until("document.readyState == 'complete' && document.activeElement.id == 'key'")
            seen.append(page.script(colour))
        assert seen == ["rgb(255, 255, 255)", "rgb(23, 25, 28)"]
        page.call("Input.insertText", text=KEY)
        page.key("Tab")
        page.until("document.getElementById('model').options.length == 1")
