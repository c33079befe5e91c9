"""Folders that another user owns or may write: what lies in them is neither run nor read, and that is said."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from test_jit import COMPILED, LOADED, finish, objects, start

from llmlocal.chat import store
from llmlocal.errors import BadFileError, ResourceError
from llmlocal.generation import prompt_cache
from llmlocal.generation.prompt_cache import PromptCache
from llmlocal.quant import private_folder
from llmlocal.quant.jit import cache, cpu, kept_file
from llmlocal.quant.jit.linker import Progress
from llmlocal.quant.private_folder import make_private, read_private, why_foreign

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX owners and modes")
NOBODY = 65534
root_only = pytest.mark.skipif(os.name != "nt" and os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder of ours that other users can reach."""
    folder = Path(tempfile.mkdtemp()).resolve()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def chmod(*names: str, mode: int) -> Callable[[Path], None]:
    return lambda base: (base / "/".join(names)).chmod(mode)


def link(base: Path) -> None:
    """The cache behind a link, below a folder that everybody can write."""
    (base / "open").mkdir()
    (base / "open").chmod(0o777)
    (base / "a" / "kernels").rename(base / "open" / "kernels")
    (base / "a" / "kernels").symlink_to("../open/kernels")


FOREIGN: dict[str, Callable[[Path], None]] = {
    "folder open to all": chmod("a", "kernels", mode=0o777),
    "folder open to all, sticky": chmod("a", "kernels", mode=0o1777),
    "parent open to all": chmod("a", mode=0o777),
    "grandparent open to all": chmod(mode=0o757),
    "open target of a link": link,
}


@pytest.mark.parametrize("way", FOREIGN)
def test_folder_that_others_can_write_is_foreign(base: Path, way: str) -> None:
    folder = base / "a" / "kernels"
    make_private(folder)
    assert why_foreign(folder) is None
    FOREIGN[way](base)
    assert "can be written by other users" in str(why_foreign(folder))


def test_sticky_folders_links_of_ours_and_missing_folders_are_fine(base: Path) -> None:
    base.chmod(0o1777)
    make_private(base / "real")
    (base / "link").symlink_to(base / "real")
    (base / "around").symlink_to("around")
    assert why_foreign(base / "real") is why_foreign(base / "link") is why_foreign(base / "link" / "new") is None
    assert "links" in str(why_foreign(base / "around"))


def test_group_counts_unless_it_is_ours_alone(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base.chmod(0o775)
    monkeypatch.setattr(private_folder, "_has_only_us", lambda group: False)
    assert "can be written" in str(why_foreign(base))
    monkeypatch.setattr(private_folder, "_has_only_us", lambda group: True)
    assert why_foreign(base) is None
    monkeypatch.setattr(os, "getxattr", lambda path, name: b"an ACL", raising=False)
    assert "can be written" in str(why_foreign(base))


def test_everything_of_another_owner_is_foreign(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "file").write_bytes(b"code")
    assert read_private(base / "file") == b"code"
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 12345)
    assert "belongs to another user" in str(why_foreign(base))
    assert read_private(base / "file") is None


@pytest.mark.parametrize("mode", [0o666, 0o622])
def test_file_that_others_can_write_is_not_read(base: Path, mode: int) -> None:
    file = base / "file"
    file.write_bytes(b"code")
    file.chmod(mode)
    assert read_private(file) is None
    file.chmod(0o644)
    (base / "link").symlink_to(file)
    os.mkfifo(base / "pipe")
    assert read_private(file) == b"code" and read_private(base / "link") is read_private(base / "pipe") is None


def test_windows_goes_by_the_profile(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USERPROFILE", str(base / "user"))
    assert private_folder._why_foreign_on_windows(base / "user" / "cache") is None
    assert "user profile" in str(private_folder._why_foreign_on_windows(base / "cache"))
    monkeypatch.delenv("USERPROFILE")
    assert private_folder._why_foreign_on_windows(base / "user" / "cache")


def as_nobody(work: Callable[[], bool]) -> bool:
    """What `work` says in a child process of another user."""
    child = os.fork()
    if not child:
        status = 2
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


@root_only
def test_as_another_user(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that root made, in a folder of nobody's: nobody uses neither, root trusts neither."""
    theirs, ours = base / "theirs", base / "ours"
    theirs.mkdir(mode=0o755)
    os.chown(theirs, NOBODY, NOBODY)
    make_private(theirs / "kernels")
    ours.mkdir(mode=0o755)
    (ours / "kernel.o").write_bytes(b"code")
    (ours / "kernel.o").chmod(0o644)
    assert "belongs to another user" in str(why_foreign(theirs / "kernels"))
    assert as_nobody(lambda: read_private(ours / "kernel.o") is None and why_foreign(ours) is not None)
    assert as_nobody(lambda: why_foreign(theirs / "new") is None)
    monkeypatch.setenv("LLMLOCAL_CACHE", str(theirs))
    folder = cache.cache_folder.__wrapped__(cpu.target("generic"), "llmlocal.ops")
    assert not folder.is_relative_to(theirs) and folder.is_dir()


def given(*names: str) -> Callable[[Path, Path], None]:
    """Gives the folder or file of that name below the base, and nothing in it, to another user."""
    return lambda base, _: os.chown(base.joinpath(*names), NOBODY, NOBODY)


def replaced(base: Path, code: Path, link: Callable[[Path, Path], object]) -> None:
    """Another user's file stands in the place of our kernel."""
    shutil.copy(code, base / "evil")
    os.chown(base / "evil", NOBODY, NOBODY)
    code.unlink()
    link(base / "evil", code)


def linked(base: Path, owner: int, target_owner: int) -> None:
    """The cache is a link of `owner` to a folder of `target_owner`."""
    (base / "cache").rename(base / "elsewhere")
    (base / "cache").symlink_to("elsewhere")
    os.lchown(base / "cache", owner, owner)
    os.chown(base / "elsewhere", target_owner, target_owner)


def group_writes(base: Path, _: Path) -> None:
    os.chown(base / "cache" / "kernels", 0, NOBODY)
    (base / "cache" / "kernels").chmod(0o770)


def access_list(base: Path, _: Path) -> None:
    """user::rwx user:nobody:rwx group::--- mask::rwx other::---, in a group that is ours alone."""
    entries = [(1, 7, -1), (2, 7, NOBODY), (4, 0, -1), (16, 7, -1), (32, 0, -1)]
    data = pack("<I", 2) + b"".join(pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(base / "cache" / "kernels", "system.posix_acl_access", data)
    except OSError as error:
        pytest.skip(f"no access lists here: {error}")


OTHERS: dict[str, Callable[[Path, Path], object]] = {
    "base": given(),
    "cache": given("cache"),
    "kernels": given("cache", "kernels"),
    "folder of kernels": lambda _, code: os.chown(code.parent, NOBODY, NOBODY),
    "kernel": lambda _, code: os.chown(code, NOBODY, NOBODY),
    "link in the place of a kernel": lambda base, code: replaced(base, code, lambda evil, at: at.symlink_to(evil)),
    "hard link in the place of a kernel": lambda base, code: replaced(base, code, os.link),
    "their link to our cache": lambda base, _: linked(base, NOBODY, 0),
    "our link to their cache": lambda base, _: linked(base, 0, NOBODY),
    "group": group_writes,
    "access list": access_list,
    "pipe in the place of a kernel": lambda _, code: [code.unlink(), os.mkfifo(code)],
}


@root_only
@pytest.mark.parametrize("way", OTHERS)
def test_no_code_of_another_owner_is_read(base: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its SHA-256 is right. The same of a cache that is named by a path through another user's folder."""
    monkeypatch.setenv("LLMLOCAL_CACHE", str(base / "cache"))

    def found() -> Path:
        return Path(cache.cache_folder.__wrapped__(cpu.target("generic"), "llmlocal.ops")) / "kernel.o"

    code = found()
    kept_file.keep(code, b"code")
    assert code.is_relative_to(base) and kept_file.read(found()) == b"code"
    OTHERS[way](base, code)
    assert kept_file.read(found()) is None


@root_only
def test_no_code_is_read_through_a_folder_of_another_owner(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "theirs").mkdir()
    os.chown(base / "theirs", NOBODY, NOBODY)
    monkeypatch.setenv("LLMLOCAL_CACHE", str(base / "theirs" / ".." / "cache"))
    folder = cache.cache_folder.__wrapped__(cpu.target("generic"), "llmlocal.ops")
    assert not folder.is_relative_to(base) and not (base / "cache" / "kernels").is_relative_to(folder)


# ---- the three stores ---------------------------------------------------------------------------------------------


def test_foreign_cache_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path))

    def found() -> Path:
        return Path(cache.cache_folder.__wrapped__(cpu.target("generic"), "llmlocal.ops"))

    ours = found()
    assert ours.is_relative_to(tmp_path) and cache.why_not_kept() is None
    kept_file.keep(ours / "kernel.o", b"code")
    assert kept_file.read(ours / "kernel.o") == b"code"
    (ours / "kernel.o").chmod(0o666)
    assert kept_file.read(ours / "kernel.o") is None
    ours.chmod(0o777)
    assert not found().is_relative_to(tmp_path)
    shutil.rmtree(tmp_path / "kernels")
    tmp_path.chmod(0o777)
    assert not found().is_relative_to(tmp_path) and cache.why_not_kept()


@pytest.mark.slow
def test_kernels_of_a_foreign_cache_are_compiled_for_one_run(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    assert finish(start(tmp_path / "cache")) == COMPILED
    (path,) = objects(tmp_path / "cache")
    before = path.read_bytes()
    (tmp_path / "cache").chmod(0o777)
    assert finish(start(tmp_path / "cache", TMPDIR=str(temporary))) == COMPILED
    assert not list(temporary.iterdir()) and path.read_bytes() == before
    (tmp_path / "cache").chmod(0o700)
    assert finish(start(tmp_path / "cache")) == LOADED
    path.chmod(0o666)
    assert finish(start(tmp_path / "cache")) == COMPILED  # and written anew, for us alone
    assert finish(start(tmp_path / "cache")) == LOADED


def test_it_is_said_once_that_kernels_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from llmlocal.cli.ui.terminal import Screen
    from llmlocal.doctor import facts

    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path))
    tmp_path.chmod(0o777)
    screen = Screen()
    screen.compiling(Progress("one"))
    screen.compiling(Progress("two"))
    said = f"kernels are compiled for this run only: {tmp_path} can be written by other users\n"
    assert capsys.readouterr().err == said
    found = {fact.name: fact for fact in facts._storage()}
    assert found["kernel cache"].ok is False and "can be written by other users" in found["kernel cache"].hint
    assert found["data folder"].ok


class Untouched:
    """An engine whose cache must not be looked at."""

    reads_whole = False

    def length(self, seq: int = 0) -> int:
        return 1000

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_prompts_of_a_foreign_folder_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "prefixes"
    make_private(place)
    monkeypatch.setattr(PromptCache, "_entries", lambda self: pytest.fail("looked into it"))
    place.chmod(0o777)
    kept, engine = PromptCache(place), Untouched()
    assert kept.restore(engine, [1] * 500) == 0  # type: ignore[arg-type]
    kept.store(engine)  # type: ignore[arg-type]
    assert kept.notes == [f"the prompt cache is not used: {place} can be written by other users"]


def kept_prompt(where: Path) -> Path:
    path = where / "x.prefix"
    header = (
        b'{"key": "k", "tokens": 1, "shapes": [], "states": [], "state_bytes": 0, "windows": [], "window_bytes": 0}'
    )
    path.write_bytes(prompt_cache.MAGIC + prompt_cache.LENGTH.pack(len(header)) + header + bytes(4 + 32))
    return path


def test_entries_of_others_are_not_seen(tmp_path: Path) -> None:
    path = kept_prompt(tmp_path)
    assert len(list(PromptCache(tmp_path)._entries())) == 1
    path.chmod(0o666)
    assert not list(PromptCache(tmp_path)._entries())


@pytest.mark.parametrize("what", ["folder", "file"])
def test_sessions_of_others_are_neither_read_nor_continued(tmp_path: Path, what: str) -> None:
    where = tmp_path / "sessions"
    one = store.named("one", "m", None, where)
    one.append({"type": "system", "text": "be kind"})
    one.close()
    assert store.load("one", where).conversation.system == "be kind"
    path = where if what == "folder" else one.path
    path.chmod(0o777)
    with pytest.raises(BadFileError, match="can be written by other users"):
        store.load("one", where)
    assert [type(item) for item in store.listing(where)] == [BadFileError]
    with pytest.raises(ResourceError, match=r"not saved.*can be written by other users"):
        store.named("one", "m", None, where).append({"type": "clear"})
    path.chmod(0o700)
    assert store.load("one", where).conversation.system == "be kind"


def kept_session(where: Path) -> Path:
    one = store.named("one", "m", None, where)
    one.append({"type": "system", "text": "be kind"})
    one.close()
    return one.path


def has_prompts(where: Path) -> bool:
    kept = PromptCache(where)
    return kept._is_ours() and bool(list(kept._entries()))


def has_sessions(where: Path) -> bool:
    return any(not isinstance(item, BadFileError) for item in store.listing(where))


@root_only
@pytest.mark.parametrize("way", OTHERS)
@pytest.mark.parametrize(("keep", "has"), [(kept_prompt, has_prompts), (kept_session, has_sessions)])
def test_no_prompt_and_no_session_of_another_owner_is_read(
    base: Path, way: str, keep: Callable[[Path], Path], has: Callable[[Path], bool]
) -> None:
    make_private(where := base / "cache" / "kernels")
    file = keep(where)
    file.chmod(0o600)
    assert has(where)
    OTHERS[way](base, file)
    assert not has(where)
