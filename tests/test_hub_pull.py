"""Downloads from a hub on loopback: every way to fail ends in the right file, or one clear error and nothing wrong."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_hub as f
import forked
import pytest
from fake_hub import FakeHub, Fault
from hubs import KIB, REPO, files_below, model
from terminals import on_terminal

from llmlocal import __version__
from llmlocal.errors import NetworkError, UsageError
from llmlocal.hub import names, places, pull, transport
from llmlocal.hub.download import DownloadSource
from llmlocal.hub.remote_file import DownloadProgress
from llmlocal.hub.safe_names import is_safe_file

Said = Callable[..., tuple[int, str, str]]
DATA = model()
NAME = "tiny-Q8_0.gguf"
MODEL = f"hf:{REPO}:Q8_0"
COMMIT = "a" * 40


def pointer(store: Path, name: str = NAME) -> Path:
    return store / "models--org--tiny-GGUF" / "snapshots" / COMMIT / name


def whole(store: Path, data: bytes = DATA) -> None:
    """The store holds the file, in the hub's layout, and nothing else."""
    digest = hashlib.sha256(data).hexdigest()
    folder = "models--org--tiny-GGUF"
    assert files_below(store) == sorted(
        [f"{folder}/blobs/{digest}", f"{folder}/refs/main", f"{folder}/snapshots/{COMMIT}/{NAME}"]
    )
    assert pointer(store).read_bytes() == data
    assert os.readlink(pointer(store)) == f"../../blobs/{digest}"


# ---- the straight way ---------------------------------------------------------------------------------------------


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
    import json

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


# ---- thirty scripts of faults -------------------------------------------------------------------------------------

N = len(DATA)
FIVE_AND_ONE = 6
SCRIPTS: dict[str, tuple[list[Fault | None], int, str]] = {
    "dropped at once": ([f.drop(0)], 0, ""),
    "dropped at byte 1": ([f.drop(1)], 0, ""),
    "dropped in the middle": ([f.drop(N // 2)], 0, ""),
    "dropped before the last byte": ([f.drop(N - 1)], 0, ""),
    "dropped three times": ([f.drop(N // 4)] * 3, 0, ""),
    "dropped five times without a byte": ([f.drop(0)] * 5, 0, ""),
    "dropped for ever": ([f.drop(0)] * FIVE_AND_ONE, 4, "closed early"),
    "reset": ([f.drop(1000, reset=True)], 0, ""),
    "reset for ever": ([f.drop(0, reset=True)] * FIVE_AND_ONE, 4, ""),
    "503": ([f.status(503)] * 2, 0, ""),
    "503 for ever": ([f.status(503)] * FIVE_AND_ONE, 4, "503"),
    "500, then dropped, then 502": ([f.status(500), f.drop(5000), f.status(502)], 0, ""),
    "429 with a wait": ([f.status(429, Retry_After="0")] * 2, 0, ""),
    "429 with nonsense": ([f.status(429, Retry_After="-1e9")], 0, ""),
    "429 for ever": ([f.status(429)] * FIVE_AND_ONE, 4, "429"),
    "404 for the bytes": ([f.status(404)], 3, "file not found"),
    "403 for the bytes": ([f.status(403)], 4, "HF_TOKEN"),
    "418": ([f.status(418)], 4, "418"),
    "another range": ([f.drop(5000), f.content_range("bytes {off}-{last}/{size}")], 0, ""),
    "another size": ([f.drop(5000), f.content_range("bytes {first}-{last}/1{size}")], 0, ""),
    "no range at all": ([f.drop(5000), f.content_range("")], 0, ""),
    "always another range": ([f.drop(5000)] + [f.content_range("bytes 0-9/10")] * FIVE_AND_ONE, 4, "range"),
    "whole file where a range was asked for": ([f.drop(5000), f.ignore_range], 0, ""),
    "416": ([f.drop(5000), f.status(416)], 0, ""),
    "flipped byte": ([f.flip(7000)], 0, "again"),
    "flipped byte twice": ([f.flip(7000)] * 2, 5, "checksum"),
    "short body": ([f.other_bytes(lambda d: d[:-10])], 0, ""),
    "short body for ever": ([f.other_bytes(lambda d: d[:-10])] * FIVE_AND_ONE, 4, "bytes"),
    "longer body": ([f.other_bytes(lambda d: d + b"more")], 0, ""),
    "other bytes after a drop": ([f.drop(5000), f.flip(N - 1)], 0, "again"),
    "slow": ([f.slow(5, 0.05)], 0, ""),
    "silent": ([f.silent], 0, "no data"),
    "chunked, without a length": ([f.chunked], 0, ""),
    "no HTTP": ([f.garbage], 0, ""),
    "no HTTP for ever": ([f.garbage] * FIVE_AND_ONE, 4, ""),
    "redirected to a file": ([f.redirect("file:///etc/passwd")], 4, "refused a redirect"),
    "redirected to nowhere": ([f.redirect("http://[::bad/")], 4, "refused a redirect"),
    "redirected for ever": ([f.redirect("/cdn/x")] * 20, 4, "redirects"),
    "dropped, 503, flipped, reset": ([f.drop(9), f.status(503), f.flip(N - 5), f.drop(8, reset=True)], 0, "again"),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_fault(said: Said, hub: FakeHub, store: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    faults, expected, words = SCRIPTS[script]
    if script == "silent":
        monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.2")
    hub.add(REPO, {NAME: DATA})
    plan = pull.plan(MODEL)  # reads the header, honestly
    monkeypatch.setattr("llmlocal.hub.pull.plan", lambda *_, **__: plan)
    if script == "redirected for ever":
        hub.blobs["x"] = hub.blobs[plan.variant.files[0].digest]
    hub.faults = list(faults)
    code, out, err = said("pull", MODEL)
    assert code == expected, err
    assert words in err
    assert "internal" not in err
    if expected == 0:
        assert out == f"{pointer(store)}\n"
        whole(store)
    else:
        assert out == ""
        assert err.count("error: ") == 1
        assert not os.path.lexists(pointer(store))
        assert all(path.endswith(".incomplete") for path in files_below(store))
        hub.faults = []
        assert said("pull", MODEL)[0] == 0
        whole(store)


def test_there_are_thirty_scripts() -> None:
    assert len(SCRIPTS) >= 30


@pytest.mark.parametrize(("faults", "code"), [([503, 502], 0), ([503] * 6, 4), ([418], 4), ([429, 429], 0)], ids=str)
def test_a_hub_that_is_busy(said: Said, hub: FakeHub, store: Path, faults: list[int], code: int) -> None:
    hub.add(REPO, {NAME: DATA})
    hub.api_faults = list(faults)
    assert said("pull", MODEL)[0] == code


OK, CHUNKED = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = "sent more than 1000000 bytes"
SLOW = "took longer than 0.4 s to answer"
BURNING: dict[str, tuple[Callable[[f.Handler], None], str]] = {
    "gzip bomb": (f.body(gzip.compress(bytes(10 << 20)), Content_Encoding="gzip"), "sent compressed content"),
    "brotli": (f.body(b"x", Content_Encoding="br"), "sent compressed content"),
    "endless JSON": (f.pour(OK + b"\r\n[", b"[]," * 10_000), ENDLESS),
    "endless chunks": (f.pour(CHUNKED, b"7530\r\n" + b"[]," * 10_000 + b"\r\n"), ENDLESS),
    "promised length": (f.body(b"{}", Content_Length="99999999999"), ENDLESS),
    "slow body": (f.pour(OK + b"\r\n{", b" ", 0.05), SLOW),
    "slow chunk size": (f.pour(CHUNKED, b"0", 0.05), SLOW),
    "slow trailers": (f.pour(CHUNKED + b"0\r\n", b"a: b\r\n", 0.01), SLOW),
    "slow header": (f.pour(OK + b"X: ", b"x", 0.05), SLOW),
    "slow status": (f.pour(b"", b"H", 0.05), SLOW),
    "endless continues": (f.pour(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01), SLOW),
    "silence": (f.pour(b"", b"", 0.05), SLOW),
    "deep lists": (f.body(b"[" * 900_000), "nested too deeply"),
    "deep objects": (f.body(b'{"a":' * 100_000), "nested too deeply"),
    "long number": (f.body(b'{"sha": ' + b"9" * 100_000 + b"}"), "invalid response"),
    "text": (f.body(b"<html>"), "invalid response"),
    "list": (f.body(b"[]"), "invalid response"),
    "nothing": (f.body(b""), "invalid response"),
    "cut": (f.body(b'{"sha": '), "invalid response"),
    "not UTF-8": (f.body(b'{"sha": "\xff"}'), "invalid response"),
    "wrong kinds": (f.body(b'{"sha": {}, "siblings": 3, "cardData": [], "id": 7}'), "sent no commit"),
}


@pytest.mark.parametrize("how", BURNING)
def test_api_answers_that_burn(
    said: Said, hub: FakeHub, store: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line and exit 4, within the time and the memory that an answer may take."""
    monkeypatch.setattr("llmlocal.hub.remote.ANSWER_SECONDS", 0.4)
    monkeypatch.setattr("llmlocal.hub.remote.MOST_ANSWER", 1_000_000)
    fault, message = BURNING[how]
    hub.api_faults = [fault] * 10
    code, out, err = said("pull", MODEL)
    assert (code, out, message in err) == (4, "", True), err
    assert len([line for line in err.splitlines() if not line.startswith("hint")]) == 1
    assert not files_below(store)


@pytest.mark.parametrize(
    "siblings",
    [
        None,
        "text",
        [None, 3, "a", [], {"rfilename": 4}, {"rfilename": NAME, "lfs": 5}, {"rfilename": NAME, "size": 1e9}],
    ],
    ids=["none", "text", "list"],
)
def test_files_that_a_hub_lists_wrongly_are_left_out(said: Said, hub: FakeHub, store: Path, siblings: Any) -> None:
    answer = {"id": REPO, "sha": COMMIT, "siblings": siblings, "cardData": {"license": {}}}
    hub.api_faults = [f.body(json.dumps(answer).encode())]
    code, _, err = said("pull", MODEL)
    assert (code, "contains no usable GGUF" in err) == (3, True)


def test_slow_headers_of_a_file_end(hub: FakeHub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both for a transfer, whose body may take any time, and for the header of a remote model."""
    hub.add(REPO, {NAME: DATA})
    plan = pull.plan(MODEL)
    monkeypatch.setattr(transport, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr("llmlocal.hub.download.HEADER_SECONDS", 0.3)
    hub.faults = [lambda handler, blob, first: f.pour(OK + b"X: ", b"x", 0.05)(handler)] * 2
    with pytest.raises(NetworkError, match=r"took longer than 0.3 s"):
        pull.pull(plan, lambda _: None)
    hub.faults = [lambda handler, blob, first: f.pour(b"HTTP/1.1 206 OK\r\nContent-Range: ", b"b", 0.05)(handler)]
    with pytest.raises(NetworkError, match=r"took longer than 0.3"):
        plan.listing.source(plan.variant.files[0]).read(0, 10)
    hub.faults = [f.slow(5, 0.1)]
    assert pull.pull(plan, lambda _: None).exists()


def test_disk_full(said: Said, hub: FakeHub, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, {NAME: DATA})
    from llmlocal.hub import download

    class Full(download.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data[:50_000])

    monkeypatch.setattr(download, "FileIO", Full)
    code, out, err = said("pull", MODEL)
    assert (code, out) == (6, "")
    assert "the disk is full" in err
    assert not os.path.lexists(pointer(store))
    monkeypatch.undo()
    monkeypatch.setenv("HF_HUB_CACHE", str(store))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("LLMLOCAL_CACHE", str(store.parent / "cache"))
    hub.requests.clear()
    assert said("pull", MODEL)[0] == 0
    assert hub.asked_for_bytes()[-1].first > 100_000
    whole(store)


def test_too_little_disk_or_memory_is_told_before(
    said: Said, hub: FakeHub, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(REPO, {NAME: DATA})
    monkeypatch.setattr("llmlocal.hub.pull.free_disk", lambda _: 1000)
    code, _, err = said("pull", MODEL)
    assert code == 6
    assert "of disk, 1000 bytes is free" in err or "of disk, 0.977 KiB is free" in err
    monkeypatch.setattr("llmlocal.hub.pull.free_disk", lambda _: 1 << 50)
    monkeypatch.setattr("llmlocal.hub.pull.total_memory", lambda: 1000)
    code, _, err = said("pull", MODEL)
    assert code == 6
    assert "of memory with 2,048 tokens" in err
    assert files_below(store) == []
    assert said("pull", MODEL, "-y")[0] == 0
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


def test_interrupted_pull_goes_on(hub: FakeHub, store: Path) -> None:
    import signal

    hub.add(REPO, {NAME: DATA})
    hub.faults = [None, f.slow(100, 0.1)]
    process = puller("-y")
    blobs = store / "models--org--tiny-GGUF" / "blobs"
    while not any(path.stat().st_size for path in blobs.glob("*.incomplete")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert err.endswith(b"interrupted; the part that was downloaded is kept, and the same command continues it\n")
    process = puller("-q")
    assert process.communicate(timeout=30)[0] == f"{pointer(store)}\n".encode()
    assert hub.asked_for_bytes()[-1].first > 0
    whole(store)


# ---- who may know what --------------------------------------------------------------------------------------------


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


# ---- hostile names ------------------------------------------------------------------------------------------------

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


# ---- many at once, and cut short ----------------------------------------------------------------------------------


def puller(*options: str) -> forked.Process:
    command = [sys.executable, "-m", "llmlocal", "pull", MODEL, *options]
    return forked.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def together(hub: FakeHub, store: Path, rounds: int, size: int) -> None:
    for number in range(rounds):
        data = model(size, seed=number)
        hub.add(REPO, {NAME: data}, commit=f"{number:040x}")
        hub.requests.clear()
        processes = [puller("-q") for _ in range(8)]
        results = [process.communicate(timeout=120) for process in processes]
        assert [process.returncode for process in processes] == [0] * 8, results
        path = pointer(store).parent.with_name(f"{number:040x}") / NAME
        assert {out for out, _ in results} == {f"{path}\n".encode()}
        assert path.read_bytes() == data
        wholes = [r for r in hub.asked_for_bytes() if not r.headers.get("range", "").startswith("bytes=0-")]
        assert len(wholes) <= 1
        assert not [name for name in files_below(store) if "incomplete" in name or "link" in name]


def test_together(hub: FakeHub, store: Path) -> None:
    together(hub, store, 1, 2 << 20)


@pytest.mark.slow
def test_together_twenty_times(hub: FakeHub, store: Path) -> None:
    together(hub, store, 20, 8 << 20)


def killed(hub: FakeHub, store: Path, times: int, size: int) -> None:
    """Kill a pull when a random part is there; the next one asks for just the rest."""
    import random

    rng, data = random.Random(0), model(size)
    digest = hashlib.sha256(data).hexdigest()
    partial = store / "models--org--tiny-GGUF" / "blobs" / f"{digest}.llmlocal.incomplete"
    hub.add(REPO, {NAME: data})
    for _ in range(times):
        pointer(store).unlink(missing_ok=True)
        pointer(store).parent.parent.parent.joinpath("blobs", digest).unlink(missing_ok=True)
        hub.requests.clear()
        enough = rng.randrange(1, len(data))
        hub.faults = [None, f.slow(200, 0.005)]  # the header, then the file
        process = puller("-q")
        while process.poll() is None and not (partial.exists() and partial.stat().st_size >= enough):
            pass
        process.kill()
        process.communicate()
        assert not os.path.lexists(pointer(store)) or pointer(store).read_bytes() == data
        held = partial.stat().st_size if partial.exists() else len(data)
        hub.requests.clear()
        hub.faults = []
        code, events = pull.plan(MODEL), []
        path = pull.pull(code, events.append)
        assert path.read_bytes() == data
        asked = [r for r in hub.asked_for_bytes() if not r.headers["range"].startswith("bytes=0-")]
        fetched = sum(e.fetched for e in [e for e in events if isinstance(e, DownloadProgress)][-1:])
        assert fetched == len(data) - held
        assert [r.first for r in asked] == ([held] if held < len(data) else [])
        whole(store, data)


def test_killed(hub: FakeHub, store: Path) -> None:
    killed(hub, store, 3, 8 << 20)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
def test_killed_at_every_change_of_the_disk(hub: FakeHub, store: Path) -> None:
    """At each flush, rename, link and removal in turn: the name stands for the whole file or for nothing."""
    hub.add(REPO, {NAME: DATA})
    calls = "fsync,ftruncate,rename,renameat,renameat2,symlink,symlinkat,unlink,mkdir,rmdir"
    command = [sys.executable, "-m", "llmlocal", "pull", MODEL, "-q"]
    for number in range(1, 60):
        shutil.rmtree(store, ignore_errors=True)
        trace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={calls}:signal=KILL:when={number}"]
        code = subprocess.run([*trace, *command], capture_output=True).returncode
        assert not pointer(store).exists() or pointer(store).read_bytes() == DATA
        assert forked.run(command).returncode == 0
        for path in (store / "models--org--tiny-GGUF" / "refs").glob(".llmlocal-*.part"):
            path.unlink()  # that is left of a killed writer, and no harm
        whole(store)
        if code == 0:
            break
    assert number > 5


@pytest.mark.slow
def test_killed_fifty_times(hub: FakeHub, store: Path) -> None:
    killed(hub, store, 50, 8 << 20)
