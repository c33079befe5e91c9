"""Downloads from a hub on loopback: the layout of the hub's cache, split models, folders, dry runs, progress."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import fake_hub as f
import pytest
from fake_hub import FakeHub
from hubs import KIB, REPO, files_below, model
from pulled import DATA, MODEL, NAME, pointer, whole
from terminals import on_terminal

from llmlocal.hub import names, pull

Said = Callable[..., tuple[int, str, str]]


def test_pull_in_the_layout_of_the_hub(said: Said, hub: FakeHub, store: Path) -> None:
    hub.add(REPO, {NAME: DATA, "README.md": b"hello"})
    code, out, err = said("pull", MODEL)
    assert (code, out) == (0, f"{pointer(store)}\n")
    assert "needs " in err
    whole(store)
    hub.requests.clear()
    assert said("pull", MODEL)[:2] == (0, out)
    assert not [r for r in hub.asked_for_bytes() if r.first]
    from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache

    hub.requests.clear()
    assert hf_hub_download(REPO, NAME, endpoint=hub.url, cache_dir=store) == str(pointer(store))
    assert not [r for r in hub.requests if r.method == "GET" and REPO in r.path]
    assert try_to_load_from_cache(REPO, NAME, cache_dir=store) == str(pointer(store))
    found = scan_cache_dir(store)
    assert not found.warnings
    assert [file.file_name for repo in found.repos for rev in repo.revisions for file in rev.files] == [NAME]


def test_a_blob_of_the_hubs_library_is_not_fetched_again(said: Said, hub: FakeHub, store: Path) -> None:
    from huggingface_hub import hf_hub_download

    hub.add(REPO, {NAME: DATA})
    hf_hub_download(REPO, NAME, endpoint=hub.url, cache_dir=store)
    hub.requests.clear()
    code, out, err = said("pull", MODEL)
    assert (code, out) == (0, f"{pointer(store)}\n")
    assert "already downloaded" in err
    assert all(r.headers["range"].startswith("bytes=0-") for r in hub.asked_for_bytes())  # the header


def test_small_file_that_is_no_lfs(said: Said, hub: FakeHub, store: Path) -> None:
    hub.add(REPO, {NAME: DATA}, lfs=False)
    assert said("pull", MODEL)[0] == 0
    assert pointer(store).read_bytes() == DATA
    assert len(os.path.basename(os.readlink(pointer(store)))) == 40
    assert said("verify") == (0, f"ok: {pointer(store)}\n", "")


def test_split_model(said: Said, hub: FakeHub, store: Path, data: Path) -> None:
    parts = (
        {f"q8/{p.name}": p.read_bytes() for p in sorted((data / "stories260K-split").glob("*.gguf"))}
        if (data / "stories260K-split").is_dir()
        else {}
    )
    if not parts:
        parts = {f"q8/tiny-Q8_0-0000{i}-of-00002.gguf": _part(i) for i in (1, 2)}
    hub.add(REPO, parts)
    code, out, _ = said("pull", MODEL)
    assert code == 0
    assert out.strip().endswith("-00001-of-00002.gguf")
    assert names.find_local(MODEL) == Path(out.strip())
    assert said("show", MODEL, "--json")[0] == 0


def _part(number: int) -> bytes:
    from gguf_bytes import I32, U16, container, entry, record

    keys = [entry("split.no", U16, number - 1), entry("split.count", U16, 2), entry("split.tensors.count", I32, 2)]
    return container(keys, [record(f"t{number}", [32])], bytes(128))


def test_dry_run_and_json(said: Said, hub: FakeHub, store: Path) -> None:

    hub.add(REPO, {NAME: DATA, "tiny-Q4_0.gguf": model(100 * KIB)}, card={"license": "mit"})
    code, out, _ = said("pull", f"hf:{REPO}", "--dry-run", "--json")
    told = json.loads(out)
    (one,) = told["models"]
    assert (code, told["schema"], told["dry_run"]) == (0, 1, True)
    assert (one["quant"], one["bytes"], one["bytes_to_fetch"], one["license"]) == ("Q8_0", len(DATA), len(DATA), "mit")
    assert [other["quant"] for other in one["others"]] == ["Q4_0"]
    code, out, _ = said("pull", f"hf:{REPO}", "--quant", "Q4_0", "--revision", "main", "--dry-run", "--json")
    assert code == 0 and json.loads(out)["models"][0]["quant"] == "Q4_0"
    assert said("pull", f"hf:{REPO}", "--revision", "nothing", "--dry-run")[0] == 3
    assert files_below(store) == []


def test_into_a_folder(said: Said, hub: FakeHub, store: Path, tmp_path: Path) -> None:
    hub.add(REPO, {NAME: DATA})
    folder = tmp_path / "mine"
    assert said("pull", MODEL, "--to", folder)[:2] == (0, f"{folder / NAME}\n")
    assert files_below(folder) == [NAME]
    assert (folder / NAME).read_bytes() == DATA
    assert files_below(store) == []
    assert said("pull", MODEL, "--to", folder)[0] == 0
    (folder / NAME).write_bytes(b"precious")
    code, _, err = said("pull", MODEL, "--to", folder)
    assert (code, (folder / NAME).read_bytes()) == (2, b"precious")
    assert "--force" in err
    assert said("pull", MODEL, "--to", folder, "--force")[0] == 0
    assert (folder / NAME).read_bytes() == DATA


def test_force_gets_it_again(said: Said, hub: FakeHub, store: Path) -> None:
    hub.add(REPO, {NAME: DATA})
    assert said("pull", MODEL)[0] == 0
    damaged = pointer(store).resolve()
    damaged.write_bytes(b"x" + DATA[1:])
    assert said("verify")[0] == 5
    assert said("pull", MODEL, "--force")[0] == 0
    whole(store)


def test_default_is_the_best_that_fits(said: Said, hub: FakeHub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"F16": 800, "Q8_0": 400, "Q4_K_M": 200, "Q2_K": 100}
    hub.add(REPO, {f"tiny-{quant}.gguf": model(size * KIB) for quant, size in sizes.items()})
    extra = pull.plan(f"hf:{REPO}").memory
    need = extra.total - extra.weights
    for room, quant in ((10_000, "Q8_0"), (300, "Q4_K_M"), (101, "Q2_K"), (50, "Q2_K")):
        monkeypatch.setattr("llmlocal.hub.pull.total_memory", lambda room=room: (room * KIB + need) / pull.COMFORT)
        plan = pull.plan(f"hf:{REPO}")
        assert plan.variant.quant == quant
        assert plan.why and plan.why.startswith(quant)
    assert "does not fit" in plan.why


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_progress_on_a_terminal(hub: FakeHub, store: Path) -> None:
    """A line that is drawn over, within the width, and gone at the end; the path stands alone."""
    hub.add(REPO, {NAME: DATA})
    hub.faults = [None, f.slow(20, 0.05)]
    code, screen = on_terminal("pull", MODEL, columns=50)
    assert code == 0
    drawn = [line for line in screen.split("\r") if "/300.2 KiB" in line]
    assert len(drawn) >= 3
    assert all(len(re.sub("\x1b[^mK]*[mK]", "", line)) < 50 for line in drawn)
    assert any("B/s" in line and "0:00" in line for line in drawn)
    assert screen.endswith(f"\r\x1b[K{pointer(store)}\n")


def test_without_links(said: Said, hub: FakeHub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where links cannot be made, the file itself stands in the snapshot, once."""
    hub.add(REPO, {NAME: DATA})

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(os, "symlink", fail)
    assert said("pull", MODEL)[0] == 0
    assert pointer(store).read_bytes() == DATA
    assert not pointer(store).is_symlink()
    assert len(files_below(store)) == 2
    hub.requests.clear()
    assert said("pull", MODEL)[0] == 0
    assert len(hub.asked_for_bytes()) == 1  # the header
    assert said("verify")[1].startswith("no SHA-256 known")
    assert said("rm", MODEL, "-y")[0] == 0
    assert files_below(store) == []
