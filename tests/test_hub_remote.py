"""Files of a hub of which only the header is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import FakeHub
from gguf_bytes import STRING, entry
from hubs import REPO, files_below, model

Said = Callable[..., tuple[int, str, str]]


def test_show_reads_the_remote_header(said: Said, hub: FakeHub, store: Path, stories: Path) -> None:
    data = (stories / "stories260K-Q8_0.gguf").read_bytes()
    big = data + bytes(8 << 20)  # trailing bytes: the file is much larger than its header
    hub.add(REPO, {"tiny-Q8_0.gguf": big})
    code, out, err = said("show", f"hf:{REPO}:Q8_0")
    assert code == 0
    assert "not on this machine" in err
    assert "llama, supported" in out
    assert "8.33 MiB" in out or "8.34 MiB" in out
    assert [r.headers["range"] for r in hub.asked_for_bytes()] == ["bytes=0-1048575"]
    assert files_below(store) == []
    assert not [path for path in files_below(store.parent / "cache") if path.startswith("header")]
    local = said("show", stories / "stories260K-Q8_0.gguf", "--json")[1]
    remote = said("show", f"hf:{REPO}:Q8_0", "--json")[1]
    assert json.loads(local)["tensors"] == json.loads(remote)["tensors"]


def test_long_header_comes_in_parts(said: Said, hub: FakeHub, store: Path) -> None:
    tokens = [entry("long.text", STRING, "x" * (3 << 20))]
    hub.add(REPO, {"tiny-Q8_0.gguf": model(more=tokens)})
    assert said("show", f"hf:{REPO}")[0] == 0
    assert [r.first for r in hub.asked_for_bytes()] == [0, 1 << 20, 2 << 20]


@pytest.mark.parametrize("name", ["M03", "M09", "M13", "M20", "M21", "M36"])
def test_malformed_remote_file(said: Said, hub: FakeHub, store: Path, malformed: dict[str, Path], name: str) -> None:
    hub.add(REPO, {"tiny-Q8_0.gguf": malformed[name].read_bytes()})
    code, out, _ = said("pull", f"hf:{REPO}:Q8_0")
    assert (code, out) == (5, "")
    assert files_below(store) == []


def test_fit(said: Said, store: Path, story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmlocal.measure.roofline.read_bandwidth", lambda n_threads: 1e9)
    code, out, _ = said("show", story, "--fit")
    assert code == 0
    assert out.startswith("fits")
    assert "tokens/s" in out
    fit = json.loads(said("show", story, "--fit", "--json")[1])["fit"]
    assert fit["fits"] is True
    assert fit["tokens_per_second"] == 1e9 / fit["read_per_token"]
    assert fit["largest"] == 512
    monkeypatch.setattr("llmlocal.model_info.fit.total_memory", lambda: 100)
    assert "none" in said("show", story, "--fit")[1]
