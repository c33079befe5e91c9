"""A hub whose names, digests and commits mean harm, and links in the store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import FakeHub
from hubs import REPO, files_below
from pulled import DATA, MODEL, NAME, whole

from llmlocal.hub.safe_names import is_safe_file

Said = Callable[..., tuple[int, str, str]]
HOSTILE = [
    "../evil.gguf", "../../evil.gguf", "a/../../evil.gguf", "..", ".", "", "/etc/evil.gguf", "//evil.gguf",
    "\\evil.gguf", "..\\..\\evil.gguf", "a\\..\\evil.gguf", "C:evil.gguf", "C:\\evil.gguf", "c:/evil.gguf",
    "\\\\server\\share\\evil.gguf", "//server/share/evil.gguf", "evil\0.gguf", "evil.gguf\0.txt", "evil\n.gguf",
    "evil\x1b[2J.gguf", "%2e%2e/evil.gguf", "%2e%2e%2fevil.gguf", "..%2fevil.gguf", "a//evil.gguf", "a/./evil.gguf",
    "./evil.gguf", "a/", "x" * 4096 + ".gguf", "a/" * 2000 + "evil.gguf", "con.gguf", "NUL", "aux/evil.gguf",
    "com1.gguf", "evil.gguf.", "evil.gguf ", " evil.gguf", ".evil.gguf", "~/evil.gguf", "~root/evil.gguf",
    "$HOME/evil.gguf", "`evil`.gguf", "evil.gguf:stream", "evil\u202efugg.gguf", "\ud800.gguf", "-evil.gguf",
    "é\u0301/../evil.gguf", "a/b/c/d/e/f/g/h/i/evil.gguf",
]  # fmt: skip


def test_hostile_names_stay_outside(said: Said, hub: FakeHub, store: Path, tmp_path: Path) -> None:
    """The server lists them all; whatever is asked for, no file is made but the honest one."""
    assert len(HOSTILE) >= 40
    safe = [name for name in HOSTILE if is_safe_file(name)]
    assert safe == ["%2e%2e/evil.gguf"] or safe == []
    hub.add(REPO, {**dict.fromkeys(HOSTILE, DATA), NAME: DATA})
    before = files_below(tmp_path)
    for name in HOSTILE:
        code, _, err = said("pull", f"hf:{REPO}", "--file", name)
        assert code in (2, 3), (name, err)
        code, _, err = said("pull", f"hf:{REPO}/{name}")
        assert code in (2, 3), (name, err)
    assert [p for p in files_below(tmp_path) if p not in before] == []
    assert said("pull", f"hf:{REPO}")[0] == 0
    whole(store)


@pytest.mark.parametrize("digest", ["../../evil", "A" * 64, "a" * 63, "a" * 65, "", "/etc/passwd", "a" * 39 + "/"])
def test_hostile_digests(said: Said, hub: FakeHub, store: Path, digest: str) -> None:
    hub.add(REPO, {NAME: DATA}, digests={NAME: digest})
    assert said("pull", MODEL)[0] == 3
    assert files_below(store) == []


@pytest.mark.parametrize("commit", ["../../evil", "", "a" * 41, "/x", "g" * 40])
def test_hostile_commits(said: Said, hub: FakeHub, store: Path, commit: str) -> None:
    hub.add(REPO, {NAME: DATA}, commit=commit)
    assert said("pull", MODEL)[0] == 4
    assert files_below(store) == []


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_links_in_the_store_are_not_written_through(said: Said, hub: FakeHub, store: Path, tmp_path: Path) -> None:
    hub.add(REPO, {NAME: DATA})
    digest = hashlib.sha256(DATA).hexdigest()
    (tmp_path / "precious").write_bytes(b"precious")
    blobs = store / "models--org--tiny-GGUF" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{digest}.llmlocal.incomplete").symlink_to(tmp_path / "precious")
    assert said("pull", MODEL)[0] == 0
    whole(store)
    assert (tmp_path / "precious").read_bytes() == b"precious"
