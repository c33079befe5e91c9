"""Names of models: the catalogs, quantizations, aliases, and the offer to pull."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from fake_hub import FakeHub
from filled_store import OLD
from hubs import REPO, files_below, model
from own_catalog import ENTRY, own
from started import PROGRAM
from terminals import Screen

from llmlocal.errors import UsageError
from llmlocal.hub import aliases, catalog, places
from llmlocal.hub.catalog import entry_for
from llmlocal.hub.names import Ref, find_local, parse
from llmlocal.hub.remote_file import RemoteFile
from llmlocal.hub.variants import quant_of, rank, variants

Said = Callable[..., tuple[int, str, str]]


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


def test_files_with_a_similar_name_are_offered(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (folder := tmp_path / "models").mkdir()
    for name in ("story-q4.gguf", "other.gguf", "story-q4.txt", "im.gguf"):
        (folder / name).write_bytes(b"")
    for typed in ("models/storyq4.gguf", "models/story-q4"):
        code, _, err = said("run", typed, "p")
        assert code == 3 and "hint: did you mean models/story-q4.gguf?\n" in err
    for unlike in ("models/unlike.gguf", "models/it.gguf"):  # the ending is no likeness
        assert "did you mean" not in said("run", unlike, "p")[2]
    monkeypatch.chdir(folder)
    assert "did you mean story-q4.gguf?" in said("run", "storyq4.gguf", "p")[2]
    assert said("run", "/", "p")[0] == 5


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


def test_an_alias_where_no_folder_can_be(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(places, "user_catalog", lambda: tmp_path / "file" / "models.toml")
    code, _, err = said("alias", "set", "mine", "hf:a/b")
    assert code == 6 and "cannot be created" in err


def test_ring_of_aliases_ends(store: Path) -> None:
    own("[aliases]\na = 'b'\nb = 'a'\n")
    assert isinstance(parse("a"), Path)
    assert entry_for("a") is None
