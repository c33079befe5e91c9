"""A start with compiled kernels loads no compiler, and knows the CPU without one."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from llmlocal.quant.jit import host, kept_file

ANSWER = """
import sys
from llmlocal.cli.main import main
assert main(["run", sys.argv[1], "the", "--raw", "-n", "2", "--seed", "1", "--prompt-cache", "off"]) == 0
sys.stderr.write(" ".join(sys.modules))
"""
# What the first answer of a dense model in Q8_0 can do without.
HEAVY = {
    "numba",
    "numpy.random",
    "llmlocal.layers.moe",
    "llmlocal.quant.formats.q4_k",
    "logging",
    "concurrent",
    "statistics",
    "importlib.resources",
    "rich",
    "prompt_toolkit",
}
LINUX_X86 = (sys.platform, platform.machine()) == ("linux", "x86_64")


def test_an_answer_with_compiled_kernels_loads_no_compiler(story: Path) -> None:
    answers = []
    for _ in range(2):  # the first one may compile
        run = subprocess.run([sys.executable, "-c", ANSWER, story], capture_output=True, text=True, check=True)
        answers.append(run.stdout)
    assert answers[0] == answers[1]
    loaded = set(run.stderr.rpartition("\n")[2].split())
    assert (HEAVY | ({"llvmlite"} if LINUX_X86 else set())) & loaded == set()


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_numpy_starts_no_threads_and_the_users_programs_are_not_told() -> None:
    code = """
import os, subprocess, sys
from llmlocal.__main__ import main
main()
import numpy
show = [sys.executable, "-c", "import os; print(os.environ.get('OPENBLAS_NUM_THREADS'))"]
sys.stderr.write(f"{len(os.listdir('/proc/self/task'))} ")
sys.stderr.write(subprocess.run(show, capture_output=True, text=True).stdout)
"""
    run = [sys.executable, "-c", code, "--version"]
    without = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    for environment, seen in ((without, "1 None\n"), (without | {"OPENBLAS_NUM_THREADS": "2"}, " 2\n")):
        done = subprocess.run(run, capture_output=True, text=True, check=True, env=environment)
        assert done.stderr.endswith(seen)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty kernel cache."""
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path))
    tmp_path.chmod(0o700)
    (tmp_path / "kernels").mkdir(mode=0o700)
    return tmp_path / "kernels"


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's description of a CPU; LLVM says that it has one feature."""
    path = tmp_path / "cpuinfo"
    path.write_bytes(b"processor\t: 0\ncpu MHz\t\t: 1000\nflags\t\t: sse\n\nprocessor\t: 1\n")
    monkeypatch.setattr(host, "CPUINFO", path)
    monkeypatch.setattr(host, "ask", lambda: host.Host("llvm", {"sse": True}))
    yield path
    host.identity.cache_clear()
    host.host.cache_clear()


def known() -> host.Host:
    """What a new process would know."""
    host.identity.cache_clear()
    return host.host.__wrapped__()


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "ask", lambda: host.Host("asked again", {}))


def test_llvm_is_asked_once(root: Path, described: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.identity.cache_clear()
    host.host.cache_clear()
    host.remember()
    forget(monkeypatch)
    assert known() == ("llvm", {"sse": True})
    text = described.read_bytes()
    described.write_bytes(text.replace(b"1000", b"2000"))
    assert known().name == "llvm"
    described.write_bytes(text.replace(b"sse", b"sse avx"))
    assert known().name == "asked again"
    described.write_bytes(text)
    version = root / "version"
    version.write_bytes(b"other")
    monkeypatch.setattr(host, "version_file", lambda package: version)
    assert known().name == "asked again"


def test_what_another_user_could_have_written_is_not_believed(
    root: Path, described: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch)
    host.identity.cache_clear()
    written = json.dumps([host.identity(), "theirs", {"avx512f": True}]).encode()
    kept_file.keep(root / "cpu", written)
    assert known().name == "theirs"
    (root / "cpu").chmod(0o666)
    assert known().name == "asked again"
    (root / "cpu").chmod(0o600)
    root.chmod(0o777)
    assert known().name == "asked again"
    root.chmod(0o700)
    (root / "cpu").write_bytes(written)  # no SHA-256 stands before it
    assert known().name == "asked again"
    for nonsense in (b"", b"{}", b"[1, 2]", b"[]"):
        kept_file.keep(root / "cpu", nonsense)
        assert known().name == "asked again"


@pytest.mark.parametrize("text", [b"", b"processor\t: 0\nFeatures\t: asimd\n"])
def test_a_cpu_that_the_system_does_not_describe_is_not_remembered(text: bytes, root: Path, described: Path) -> None:
    described.write_bytes(text)
    host.identity.cache_clear()
    assert host.identity() == ""
    host.remember()
    assert known().name == "llvm" and not list(root.iterdir())
    described.unlink()
    assert known().name == "llvm"
