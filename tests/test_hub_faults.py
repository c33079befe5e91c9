"""Transfers and answers of a hub that fail, burn time or memory, or find no place."""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_hub as f
import pytest
from fake_hub import FakeHub, Fault
from hubs import REPO, files_below
from pulled import COMMIT, DATA, MODEL, NAME, pointer, whole

from llmlocal.errors import NetworkError
from llmlocal.hub import pull, transport

Said = Callable[..., tuple[int, str, str]]
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
