"""What lies in the store: lists, removal that spares what others use, pruning, checks of digests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_hub import FakeHub
from filled_store import OLD, filled
from hubs import REPO, files_below, model
from own_catalog import ENTRY, own

from llmlocal.files.signature import PROMPT_CACHE
from llmlocal.hub import index, names, places
from llmlocal.hub.names import parse
from llmlocal.quant.cache_tag import tag

Said = Callable[..., tuple[int, str, str]]


def test_list(said: Said, hub: FakeHub, store: Path) -> None:
    own(ENTRY)
    assert said("list")[:2] == (0, "")
    filled(hub, said)
    code, out, err = said("list")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["NAME", "SIZE", "QUANT", "ARCHITECTURE", "USED", "SHARED", "WITH"]
    assert [line.split()[0] for line in lines[1:]] == [
        "hf:org/odd/odd.gguf",
        "tiny:Q4_0",
        "tiny:Q8_0",
        f"hf:{REPO}:Q4_0@{OLD[:12]}",
        f"hf:{REPO}:Q8_0@{OLD[:12]}",
    ]
    told = json.loads(said("list", "--json")[1])
    assert told["schema"] == 1
    one = next(m for m in told["models"] if m["name"] == "tiny:Q8_0")
    assert (one["quant"], one["architecture"], one["context"], one["old"]) == ("Q8_0", "llama", 2048, False)
    assert one["shared"] == ["huggingface_hub", "llama.cpp"]
    for m in told["models"]:
        assert said("path", m["name"])[:2] == (0, m["path"] + "\n")


def test_index_saves_opening_files(said: Said, hub: FakeHub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(hub, said)
    said("list")
    read: list[Path] = []
    monkeypatch.setattr(index, "_read", lambda path: read.append(path) or {})
    assert said("list")[0] == 0
    assert read == []
    kept = places.own_cache() / index.FILE
    lies = json.loads(kept.read_text())
    for held in lies["files"].values():
        held["facts"] = {"quant": [], "architecture": 3, "context": "x", "other": 1}
    kept.write_text(json.dumps(lies))
    assert said("list")[0] == 0
    assert read == []
    for n, nonsense in enumerate(("{ nonsense", "[]", '{"version": 1}', '{"version": 1, "files": 3}', "[" * 99_999), 1):
        kept.write_text(nonsense)
        assert said("list")[0] == 0
        assert len(read) == 4 * n  # blobs, not names


@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--available"], ["completion", "words", "run", ""]], ids=" ".join
)
def test_lists_load_nothing_heavy(said: Said, hub: FakeHub, store: Path, arguments: list[str]) -> None:
    filled(hub, said)
    said("list")
    code = (
        f"import sys; from llmlocal.cli.main import main; main({arguments!r}); sys.stderr.write(' '.join(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in out.stderr.split()}
    assert not {"numpy", "numba", "llvmlite", "rich", "huggingface_hub", "httpx", "httpx2", "ssl", "psutil"} & loaded


def test_rm_spares_what_another_snapshot_names(said: Said, hub: FakeHub, store: Path) -> None:
    filled(hub, said)
    old = f"hf:{REPO}:Q4_0@{OLD}"
    code, _, err = said("rm", f"hf:{REPO}")
    assert (code, "matches 2 models" in err) == (2, True)
    assert said("rm", f"hf:{REPO}:Q4_0")[0] == 2  # nobody was asked
    before = files_below(store)
    assert said("rm", f"hf:{REPO}:Q4_0", "--dry-run")[0] == 0
    assert files_below(store) == before
    code, _, err = said("rm", f"hf:{REPO}:Q4_0", "-y")
    assert (code, "0 bytes freed" in err) == (0, True)
    assert said("verify", old)[0] == 0
    code, _, err = said("rm", old, "-y")
    assert (code, "0 bytes freed" in err) == (0, False)
    assert said("path", f"hf:{REPO}:Q4_0")[0] == 3
    assert said("path", f"hf:{REPO}:Q8_0")[0] == 0
    assert said("verify")[0] == 0


def test_rm_of_the_last_leaves_nothing(said: Said, hub: FakeHub, store: Path) -> None:
    filled(hub, said)
    for name in ("hf:org/odd", f"hf:{REPO}:Q4_0", f"hf:{REPO}:Q8_0", f"hf:{REPO}:Q4_0@{OLD}", f"hf:{REPO}:Q8_0@{OLD}"):
        assert said("rm", name, "-y")[0] == 0
    assert files_below(store) == []
    assert said("rm", "hf:org/odd", "-y")[0] == 3


def test_rm_touches_no_other_file(said: Said, hub: FakeHub, store: Path, tmp_path: Path) -> None:
    """Other tools' files in the same snapshot stay, and so do a user's own files."""
    filled(hub, said)
    snapshot = store / "models--org--odd" / "snapshots" / ("a" * 40)
    blob = store / "models--org--odd" / "blobs" / ("c" * 40)
    blob.write_text("{}")
    (snapshot / "config.json").symlink_to(os.path.relpath(blob, snapshot))
    assert said("rm", "hf:org/odd", "-y")[0] == 0
    assert (snapshot / "config.json").read_text() == "{}"
    assert (store / "models--org--odd" / "refs" / "main").exists()
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(model())
    code, _, err = said("rm", str(mine), "-y")
    assert (code, "not in the model store" in err, mine.exists()) == (2, True, True)


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
@pytest.mark.skipif(os.name == "nt", reason="POSIX devices")
def test_what_is_no_file_is_named_so(said: Said, store: Path) -> None:
    for command, code, what in (("path", 3, "not a file"), ("verify", 2, "not a regular file")):
        found, _, err = said(command, os.devnull)
        assert found == code and what in err and "delete" not in err


def test_rm_follows_no_link_out_of_the_store(said: Said, hub: FakeHub, store: Path, tmp_path: Path) -> None:
    """A blob that is a link into a place that repositories share loses its name, not its bytes."""
    filled(hub, said)
    blob = next((store / "models--org--odd" / "blobs").iterdir())
    shared = tmp_path / "shared"
    shutil.move(blob, shared)
    blob.symlink_to(shared)
    code, _, err = said("rm", "hf:org/odd", "-y")
    assert (code, "0 bytes freed" in err) == (0, True)
    assert shared.exists()
    assert not os.path.lexists(blob)


def not_ours(cache: Path, blobs: Path) -> list[Path]:
    """Old files and folders without our marker, under names like ours."""
    paths = [cache / "kernels" / "avx2-notes" / "a.txt", cache / "header-letters" / "a.txt", blobs / "thesis.part"]
    paths += [cache / "prefixes" / name for name in ("list.txt", "c.prefix")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        os.utime(path, (0, 0))
        if path.parent.name in ("avx2-notes", "header-letters"):
            os.utime(path.parent, (0, 0))
    (cache / "prefixes" / "d.prefix").symlink_to(cache / "prefixes" / "b.prefix")
    os.utime(cache / "prefixes" / "d.prefix", (0, 0), follow_symlinks=False)
    return [*paths, cache / "prefixes" / "d.prefix"]


def test_prune(said: Said, hub: FakeHub, store: Path, tmp_path: Path) -> None:
    filled(hub, said)
    blobs = store / f"models--{REPO.replace('/', '--')}" / "blobs"
    ours, fresh, left = (
        blobs / f"{c * 64}.{end}"
        for c, end in (("d", "llmlocal.incomplete"), ("e", "1f.incomplete"), ("f", "2f.incomplete"))
    )
    for path in (ours, fresh, left):
        path.write_bytes(bytes(1000))
    os.utime(left, (0, 0))
    stale = tmp_path / "cache" / "kernels" / "avx2-old"
    stale.mkdir(parents=True)
    (stale / "x.o").write_bytes(bytes(5000))
    header = tmp_path / "cache" / "header-abc"
    header.mkdir()
    for folder in (stale, header):
        tag(folder)
    prompts = tmp_path / "cache" / "prefixes"
    prompts.mkdir()
    old, new = prompts / "a.prefix", prompts / "b.prefix"
    for path in (old, new):
        path.write_bytes(PROMPT_CACHE + b"1")
    foreign = not_ours(tmp_path / "cache", blobs)
    for path in (old, stale, header):
        os.utime(path, (0, 0))
    code, out, _ = said("prune", "--dry-run")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()].count("interrupted download") == 2
    assert [line.split(":")[0] for line in out.splitlines()].count("old revision") == 2
    assert ours.exists() and stale.exists()
    assert said("prune")[0] == 2
    code, _, err = said("prune", "-y")
    assert (code, "freed" in err) == (0, True)
    assert (ours.exists(), fresh.exists(), left.exists(), stale.exists()) == (False, True, False, False)
    assert (old.exists(), new.exists(), header.exists()) == (False, True, False)
    assert all(path.exists() for path in foreign)
    names_left = [m.name for m in index.installed()]
    assert names_left == ["hf:org/odd/odd.gguf", f"hf:{REPO}:Q4_0", f"hf:{REPO}:Q8_0"]
    assert said("verify")[0] == 0
    assert said("prune")[:2] == (0, "")


def test_prune_spares_a_download_that_runs(said: Said, hub: FakeHub, store: Path) -> None:
    from llmlocal.hub.store import Repo

    filled(hub, said)
    repo = Repo.of(REPO)
    partial = repo.folder / "blobs" / f"{'d' * 64}.llmlocal.incomplete"
    partial.write_bytes(b"x")
    with repo.lock("d" * 64, lambda _: None):
        assert "interrupted" not in said("prune", "--dry-run")[1]
    assert "interrupted" in said("prune", "--dry-run")[1]


def test_prune_keeps_a_pinned_revision(said: Said, hub: FakeHub, store: Path) -> None:
    filled(hub, said)
    own(f'[models.pinned]\nrepo = "{REPO}"\nrevision = "{OLD}"\n')
    assert "old revision" not in said("prune", "--dry-run")[1]


def test_verify_finds_a_flipped_byte(said: Said, hub: FakeHub, store: Path) -> None:
    filled(hub, said)
    assert said("verify")[0] == 0
    blob = names.find_stored(parse("hf:org/odd")).blob  # type: ignore[union-attr, arg-type]
    data = bytearray(blob.read_bytes())
    data[-5] ^= 1
    blob.write_bytes(data)
    code, out, err = said("verify")
    assert code == 5
    assert [line for line in out.splitlines() if line.startswith("damaged: ")] == [
        f"damaged: {store}/models--org--odd/snapshots/{'a' * 40}/odd.gguf"
    ]
    assert "--force downloads again" in err


def test_last_use_is_kept(said: Said, hub: FakeHub, store: Path) -> None:
    filled(hub, said)
    for blob in store.rglob("blobs/*"):
        os.utime(blob, (1e9, 1e9))
    assert said("path", f"hf:{REPO}:Q8_0")[0] == 0
    used = {m.name: m.used for m in index.installed()}
    assert used[f"hf:{REPO}:Q8_0"] >= time.time() - 60
    assert used[f"hf:{REPO}:Q4_0"] == 1e9
