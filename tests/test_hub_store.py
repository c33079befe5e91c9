"""What lies in the store: names to files, lists, removal that spares what others need, aliases, completion."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import typer
from fake_hub import FakeHub
from gguf_bytes import STRING, entry
from hubs import KIB, REPO, files_below, model
from terminals import Screen

from llmlocal.cli.completion_scripts import candidates
from llmlocal.cli.main import app
from llmlocal.errors import UsageError
from llmlocal.files.signature import PROMPT_CACHE
from llmlocal.hub import aliases, catalog, index, names, places
from llmlocal.hub.catalog import entry_for
from llmlocal.hub.names import Ref, find_local, parse
from llmlocal.hub.remote_file import RemoteFile
from llmlocal.hub.variants import quant_of, rank, variants
from llmlocal.quant.cache_tag import tag

Said = Callable[..., tuple[int, str, str]]
PROGRAM = [sys.executable, "-m", "llmlocal"]
OLD, NEW = "0" * 40, "1" * 40


def own(text: str) -> None:
    """Write the user's catalog."""
    path = places.user_catalog()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


ENTRY = f"""
# mine
[models.tiny]
repo = "{REPO}"
file = "tiny-{{quant}}.gguf"
context = 2048
aliases = ["wee"]
sampling = {{ temp = 0.5 }}
unchecked = true
"""


# ---- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "repo", "quant", "file", "revision"),
    [
        ("hf:a/b", "a/b", None, None, None),
        ("hf:a/b:q4_k_m", "a/b", "Q4_K_M", None, None),
        ("hf:a/b/c.gguf", "a/b", None, "c.gguf", None),
        ("hf:a/b/q8/c.gguf@main", "a/b", None, "q8/c.gguf", "main"),
        ("hf:a/b:Q8_0@refs/pr/1", "a/b", "Q8_0", None, "refs/pr/1"),
        ("hf:A.b/c_d-e@" + "a" * 40, "A.b/c_d-e", None, None, "a" * 40),
        ("tiny", REPO, None, None, None),
        ("TINY:fp16", REPO, "F16", None, None),
        ("wee:Q8_0", REPO, "Q8_0", None, None),
    ],
)
def test_names(store: Path, text: str, repo: str, quant: str | None, file: str | None, revision: str | None) -> None:
    own(ENTRY)
    ref = parse(text)
    assert isinstance(ref, Ref)
    assert (ref.repo, ref.quant, ref.file, ref.revision) == (repo, quant, file, revision)


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:a", "hf:a/b:", "hf:a/b@", "hf:../b", "hf:a/..", "hf:a/b@../x", "hf:a/b@x..y", "hf:a b/c", "hf:/b"],
)
def test_no_names(store: Path, text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


def test_paths_stay_paths(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(ENTRY)
    monkeypatch.chdir(tmp_path)
    assert parse("./tiny") == Path("tiny")
    assert parse("a b") == Path("a b")
    Path("tiny").write_bytes(b"a file goes first")
    assert find_local("tiny") == Path("tiny")


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("Qwen3-0.6B-Q8_0.gguf", "Q8_0"),
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "Q4_K_M"),
        ("tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", "Q4_K_M"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("m-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("m-IQ2_XXS.gguf", "IQ2_XXS"),
        ("m-fp16.gguf", "F16"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4_0"),
        ("BF16/m-BF16.gguf", "BF16"),
        ("Q6_K/model-00001-of-00002.gguf", "Q6_K"),
        ("model.gguf", None),
    ],
)
def test_quantization_from_a_name(name: str, quant: str | None) -> None:
    assert quant_of(name) == quant


def test_variants_are_whole_and_in_order() -> None:
    files = ["a-Q4_K_M.gguf", "a-Q8_0-00002-of-00002.gguf", "a-Q8_0-00001-of-00002.gguf", "a-Q6_K-00001-of-00002.gguf"]
    files += ["mmproj-a-F16.gguf", "README.md", "a-F16.gguf", "a-IQ1_S.gguf", "a.imatrix.gguf", "imatrix_a.gguf"]
    found = variants(RemoteFile(name, 1, "") for name in files)
    assert [v.quant for v in found] == ["Q8_0", "Q4_K_M", "F16", "IQ1_S"]
    assert [f.name for f in found[0].files] == ["a-Q8_0-00001-of-00002.gguf", "a-Q8_0-00002-of-00002.gguf"]
    assert rank("UD-Q4_K_M") == rank("Q4_K_M") < rank("Q2_K") < rank("BF16") < rank(None)


# ---- the catalog --------------------------------------------------------------------------------------------------


def test_our_catalog_is_right(store: Path) -> None:
    """Every field has its type, nothing is named twice, and each entry says whether it was checked."""
    import tomllib

    raw = tomllib.loads(places.catalog().read_text())["models"]
    known = catalog.catalog()
    assert set(raw) == set(known.entries)
    assert len(known.entries) >= 40
    every = [*known.entries, *(alias for e in known.entries.values() for alias in e.aliases)]
    assert len(set(every)) == len(every)
    for name, table in raw.items():
        assert table.get("unchecked") is True or table["checked"], name
        assert set(table.get("checked", ())) <= {*table}, name
        found = known.entries[name]
        assert found.parameters and found.context and found.license, name
        assert 0.02 <= found.parameters <= 35
        for value in (found.sampling.temp, found.sampling.top_p, found.sampling.min_p):
            assert value is None or 0 <= value <= 2, name
        if found.file:
            assert found.file.endswith(".gguf")
            assert quant_of(found.file.replace("{quant}", "Q4_K_M")) == "Q4_K_M"


@pytest.mark.parametrize(
    "text",
    [
        "[models.x]",
        "[models.x]\nrepo = 3",
        "[models.x]\nrepo = 'a'",
        "[models.x]\nrepo = '../b'",
        "[models.x]\nrepo = 'a/b'\ncontxt = 1",
        "[models.x]\nrepo = 'a/b'\ncontext = true",
        "[models.x]\nrepo = 'a/b'\nkind = 'other'",
        "[models.x]\nrepo = 'a/b'\nfile = 'no place.gguf'",
        "[models.x]\nrepo = 'a/b'\naliases = [1]",
        "[models.x]\nrepo = 'a/b'\naliases = ['a:b']",
        "[models.x]\nrepo = 'a/b'\nsampling = { heat = 1 }",
        "[models.x]\nrepo = 'a/b'\nthinking = { style = 'loud' }",
        "[models.x]\nrepo = 'a/b'\nthinking = 3",
        "[models.'x:y']\nrepo = 'a/b'",
        "[aliases]\nx = 3",
        "[aliases]\n'x y' = 'z'",
        "models = 3",
        "aliases = [1]",
        "[models]\nx = 3",
        "[models.x]\nrepo = 'a/b'\naliases = 3",
        f"a = {'[' * 5000}",
        f"a = {'{a = ' * 3000}1{'}' * 3000}",
        "not toml",
    ],
)
def test_wrong_user_catalog_is_told(said: Said, store: Path, text: str) -> None:
    own(text)
    code, out, err = said("list", "--available")
    assert (code, out) == (2, "")
    assert "models.toml: " in err
    assert "internal" not in err


def test_users_entries_come_first(store: Path) -> None:
    own('[models."qwen3-0.6b"]\nrepo = "my/own"\ncontext = 5')
    found = entry_for("qwen3-0.6b")
    assert found and (found.repo, found.context, found.own) == ("my/own", 5, True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tiny", "tiny"),
        ("wee:Q8_0", "tiny"),
        (f"hf:{REPO}:Q4_0", "tiny"),
        (Path(f"/x/models--{REPO.replace('/', '--')}/snapshots/{OLD}/tiny-Q8_0.gguf"), "tiny"),
        (Path("/somewhere/tiny-q4_k_m.gguf"), "tiny"),
        (Path("/somewhere/tinyllama.gguf"), None),
        ("nothing", None),
    ],
)
def test_entry_for(store: Path, text: str | Path, name: str | None) -> None:
    own(ENTRY)
    found = entry_for(text)
    assert (found.name if found else None) == name


# ---- MODEL in commands --------------------------------------------------------------------------------------------


def test_commands_take_names(said: Said, hub: FakeHub, store: Path, stories: Path) -> None:
    own(ENTRY)
    for quant in ("Q8_0", "Q4_0"):
        hub.add(REPO, {f"tiny-{quant}.gguf": (stories / f"stories260K-{quant}.gguf").read_bytes()})
        assert said("pull", f"tiny:{quant}")[0] == 0
    hub.requests.clear()
    for name, quant in (("tiny", "Q8_0"), ("wee:Q4_0", "Q4_0"), (f"hf:{REPO}:Q8_0", "Q8_0"), (f"hf:{REPO}", "Q8_0")):
        code, out, _ = said("path", name)
        assert (code, Path(out.strip()).name) == (0, f"tiny-{quant}.gguf")
    assert said("tokenize", "tiny", "Once", "--count")[0] == 0
    assert said("show", "tiny", "--kv", "general.architecture")[:2] == (0, "llama\n")
    assert not hub.requests
    code, out, err = said("run", "tiny:Q6_K", "x")
    assert (code, out) == (3, "")
    assert err == "error: tiny:Q6_K is not on this machine\nhint: llmlocal pull tiny:Q6_K\n"


def test_a_name_means_no_other_model_of_its_repository(said: Said, hub: FakeHub, store: Path) -> None:
    own(ENTRY)
    hub.add(REPO, {"other-Q8_0.gguf": model()})
    code, _, err = said("pull", "tiny")
    assert (code, "it has Q8_0" in err, "tiny-{quant}.gguf" in err) == (3, True, True)
    code, out, _ = said("pull", f"hf:{REPO}/other-Q8_0.gguf")
    assert code == 0
    assert said("path", "tiny")[0] == 3
    assert said("path", f"hf:{REPO}:Q8_0")[:2] == (0, out)
    assert said("rm", "tiny", "-y")[0] == 3
    assert said("rm", out.strip(), "-y")[0] == 0
    assert files_below(store) == []


def test_unknown_names_the_three_nearest(said: Said, store: Path) -> None:
    for i in range(5):
        own("".join(f'[models.zebra{i}]\nrepo = "a/z{i}"\n' for i in range(5)))
    code, _, err = said("run", "zebra", "x")
    assert code == 3
    assert err.splitlines()[0] == "error: zebra: no such file or model"
    assert err.count("zebra") == 4
    code, _, err = said("pull", "zbra0")
    assert (code, "zebra0" in err) == (3, True)


def test_usage_is_told_before_the_name(said: Said, store: Path) -> None:
    own(ENTRY)
    assert said("run", "tiny", "p", "--temp", "-1")[0] == 2
    assert said("run", "tiny", "--no-stdin")[0] == 2


def on_terminal(answer: str, *arguments: str) -> tuple[int, str, str]:
    """The program with stdin and stderr on a terminal where somebody types; its stdout apart."""
    screen = Screen()
    command = [*PROGRAM, *arguments]
    with forked.start(command, stdin=screen.slave, stderr=screen.slave, stdout=subprocess.PIPE) as process:
        for asked, line in enumerate(answer.splitlines(), 1):
            while b"".join(screen._got).count(b"[y/N]") < asked and process.poll() is None:
                time.sleep(0.01)
            os.write(screen._master, f"{line}\n".encode())  # what is typed before the question does not count
        out, _ = process.communicate(timeout=120)
    return process.wait(), out.decode(), screen.close().decode()


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_terminal_offers_to_pull(hub: FakeHub, store: Path, stories: Path) -> None:
    own(ENTRY)
    hub.add(REPO, {"tiny-Q8_0.gguf": (stories / "stories260K-Q8_0.gguf").read_bytes()})
    code, out, screen = on_terminal("n\n", "path", "tiny")
    assert (code, out) == (3, "")
    assert "tiny is not on this machine. Download it? [y/N]" in screen
    assert not hub.requests
    code, out, screen = on_terminal("y\nn\n", "path", "tiny")
    assert (code, out) == (6, "")
    assert "to download. Continue? [y/N]" in screen
    code, out, screen = on_terminal("y\ny\n", "path", "tiny")
    assert code == 0
    assert out.endswith("tiny-Q8_0.gguf\n")
    assert "of memory" in screen


# ---- list, rm, prune, verify --------------------------------------------------------------------------------------


def filled(hub: FakeHub, said: Said) -> None:
    """An old revision with two files, one of which the new one changes, and a model without a quantization."""
    a, b, c = model(40 * KIB, seed=1), model(30 * KIB, seed=2), model(40 * KIB, seed=3)
    for commit, first in ((OLD, a), (NEW, c)):
        hub.add(REPO, {"tiny-Q8_0.gguf": first, "tiny-Q4_0.gguf": b}, commit=commit)
        assert said("pull", f"hf:{REPO}:Q8_0")[0] == 0
        assert said("pull", f"hf:{REPO}:Q4_0")[0] == 0
    hub.add("org/odd", {"odd.gguf": model(20 * KIB, arch="qwen3", more=[entry("general.name", STRING, "odd")])})
    assert said("pull", "hf:org/odd")[0] == 0


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


# ---- aliases ------------------------------------------------------------------------------------------------------


def test_aliases_keep_comments(said: Said, store: Path) -> None:
    own(ENTRY + "\n# my favourites\n[aliases]\nold = 'tiny:Q4_0' # the first\n")
    assert said("alias", "set", "pet", "tiny:Q8_0")[0] == 0
    text = places.user_catalog().read_text()
    assert all(comment in text for comment in ("# mine", "# my favourites", "# the first"))
    ref = parse("pet")
    assert isinstance(ref, Ref) and (ref.repo, ref.quant) == (REPO, "Q8_0")
    assert said("alias", "ls") == (0, "old  tiny:Q4_0\npet  tiny:Q8_0\n", "")
    assert json.loads(said("alias", "ls", "--json")[1]) == {"schema": 1, "aliases": aliases.user_aliases()}
    assert said("alias", "rm", "pet")[0] == 0
    assert said("alias", "rm", "pet")[0] == 3
    assert parse("pet") == Path("pet")


def test_alias_of_a_file_and_of_an_alias(
    said: Said, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b.gguf").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert said("alias", "set", "here", "a b.gguf")[0] == 0
    monkeypatch.chdir("/")
    assert find_local("here") == tmp_path / "a b.gguf"
    assert said("alias", "set", "there", "here")[0] == 0
    assert find_local("there") == tmp_path / "a b.gguf"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["a b", "tiny"], 2),
        (["tiny", "hf:a/b"], 2),
        (["x", "nothing like that"], 3),
        (["x", "hf:a"], 2),
        (["../x", "tiny"], 2),
    ],
)
def test_no_alias(said: Said, store: Path, arguments: list[str], code: int) -> None:
    own(ENTRY)
    before = places.user_catalog().read_text()
    assert said("alias", "set", *arguments)[0] == code
    assert places.user_catalog().read_text() == before


def test_ring_of_aliases_ends(store: Path) -> None:
    own("[aliases]\na = 'b'\nb = 'a'\n")
    assert isinstance(parse("a"), Path)
    assert entry_for("a") is None


# ---- show of what is not here -------------------------------------------------------------------------------------


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
    monkeypatch.setattr("llmlocal.ops.bandwidth.read_bandwidth", lambda n_threads: 1e9)
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


# ---- completion ---------------------------------------------------------------------------------------------------


COMPLETED = typer.main.get_command(app)


def test_candidates(said: Said, hub: FakeHub, store: Path) -> None:
    own(ENTRY + "[aliases]\npet = 'tiny'\n")
    filled(hub, said)
    assert "tokenize" in list(candidates(COMPLETED, [""]))
    assert list(candidates(COMPLETED, ["ru"])) == ["run"]
    models = list(candidates(COMPLETED, ["run", ""]))
    assert {"tiny", "wee", "pet", "tiny:Q8_0", "hf:org/odd/odd.gguf"} <= set(models)
    assert list(candidates(COMPLETED, ["run", "tiny:"])) == ["tiny:Q4_0", "tiny:Q8_0"]
    assert list(candidates(COMPLETED, ["run", "--temp", "0", "pe"])) == ["pet"]
    assert list(candidates(COMPLETED, ["run", "tiny", "pe"])) == []
    assert list(candidates(COMPLETED, ["pull", "tiny", "pe"])) == ["pet"]
    assert list(candidates(COMPLETED, ["show", "pe"])) == ["pet"]
    assert list(candidates(COMPLETED, ["show", "--te"])) == ["--template", "--tensors"]
    assert list(candidates(COMPLETED, ["alias", ""])) == ["ls", "rm", "set"]
    assert list(candidates(COMPLETED, ["alias", "set", "x", "wee"])) == ["wee"]
    assert list(candidates(COMPLETED, ["completion", "z"])) == ["zsh"]
    assert list(candidates(COMPLETED, ["help", "ru"])) == ["run"]
    assert list(candidates(COMPLETED, ["help", "alias", ""])) == ["ls", "rm", "set"]
    assert {"csv", "json", "md"} <= set(candidates(COMPLETED, ["bench", "tiny", "-o", ""]))
    assert list(candidates(COMPLETED, ["no such", ""])) == []
    own("broken")
    assert list(candidates(COMPLETED, ["run", ""])) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_scripts(said: Said, shell: str) -> None:
    code, out, err = said("completion", shell)
    assert (code, err) == (0, "")
    assert "llmlocal completion words" in out
    program = shutil.which({"powershell": "pwsh"}.get(shell, shell))
    if program and shell != "powershell":
        subprocess.run([program, "-n"], input=out, text=True, check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("llmlocal ru", ["run"]),
        ("llmlocal run we", ["wee"]),
        ("llmlocal run tiny:", ["Q4_0", "Q8_0"]),
        ("llmlocal run tiny:Q8", ["Q8_0"]),
    ],
)
def test_bash(said: Said, hub: FakeHub, store: Path, tmp_path: Path, line: str, expected: list[str]) -> None:
    """What bash itself makes of it, whose words end at colons."""
    own(ENTRY)
    filled(hub, said)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "llmlocal"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m llmlocal "$@"\n')
    program.chmod(0o755)
    script = said("completion", "bash")[1]
    typed = f"COMP_LINE={shlex.quote(line)}; COMP_POINT={len(line)}"
    check = f"{script}\n{typed}; _llmlocal; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    out = subprocess.run(["bash", "-c", check], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert out.stdout.split() == expected
