"""What fits is run, what does not is refused before it is loaded, with the context that would fit."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from terminals import PROGRAM

from llmlocal import __main__
from llmlocal.errors import ResourceError
from llmlocal.gguf import open_gguf
from llmlocal.model_info.machine import free_memory, total_memory
from llmlocal.model_info.memory import memory
from llmlocal.model_info.memory_limit import check_memory, largest_context
from llmlocal.quant.jit import linker
from llmlocal.quant.jit.kernel import Kernel

sys.path.append(str(Path(__file__).parents[1] / "tools"))
make_model = import_module("make_model")


def own(folder: Path, text: str) -> Path:
    (folder / "self").write_text(text)
    return folder / "self"


def control_group(folder: Path, **files: str) -> None:
    """Write the files `memory.NAME` of a control group."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"memory.{name}").write_text(content)


def test_version_2(tmp_path: Path) -> None:
    stat = "anon 5\ninactive_file 100000\nactive_file 50000\nfile 9\n"
    control_group(tmp_path / "a", max="1000000\n", current="400000\n", stat=stat)
    control_group(tmp_path / "a/b", max="max\n", current="700\n")
    assert free_memory(tmp_path, own(tmp_path, "0::/a/b\n")) == 750_000
    assert free_memory(tmp_path, own(tmp_path, "0::/\n")) > 1_000_000
    assert total_memory(tmp_path, own(tmp_path, "0::/a/b\n")) == 1_000_000


def test_version_1(tmp_path: Path) -> None:
    stat = "total_inactive_file 100\ninactive_file 9\n"
    control_group(tmp_path / "memory", limit_in_bytes="9223372036854771712\n")
    control_group(tmp_path / "memory/x", limit_in_bytes="5000\n", usage_in_bytes="4000\n", stat=stat)
    assert free_memory(tmp_path, own(tmp_path, "5:cpu,cpuacct:/y\n4:memory:/x\n")) == 1100


def test_no_groups(tmp_path: Path) -> None:
    assert free_memory(tmp_path, tmp_path / "none") > 1 << 20
    assert free_memory(tmp_path, own(tmp_path, "nonsense\n")) > 1 << 20


def test_refusal_names_the_largest_context(tmp_path: Path) -> None:
    make_model.make_model("tiny-llama-256", tmp_path / "m.gguf")
    with open_gguf(tmp_path / "m.gguf") as file:
        free = memory(file.metadata, file.tensors, 1000).total
        check_memory(file.metadata, file.tensors, 1000, free=free)
        fits = largest_context(file.metadata, file.tensors, 50_000, free)
        assert memory(file.metadata, file.tensors, fits).total <= free
        assert memory(file.metadata, file.tensors, fits + 1).total > free
        with pytest.raises(ResourceError, match=r"a context of 50000 tokens takes .* of memory, .* is free") as caught:
            check_memory(file.metadata, file.tensors, 50_000, free=free)
        assert caught.value.hint.startswith(f"--ctx {fits} is the largest context that fits")
        with pytest.raises(ResourceError) as caught:
            check_memory(file.metadata, file.tensors, 10, free=1 << 20)
        assert "even a short context does not fit" in caught.value.hint


def test_run_and_chat_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: object) -> None:
    make_model.make_model("tiny-llama-256", path := tmp_path / "m.gguf")
    for module in ("model_info.memory_limit", "engine_plan"):
        monkeypatch.setattr(f"llmlocal.{module}.free_memory", lambda: 60 << 20)
    run = ["run", path, "hi", "--raw", "--no-stdin", "-n", "1", "--temp", "0"]
    assert said(*run, "-c", "100")[0] == 0  # type: ignore[operator]
    for command in ([*run, "-c", "60000"], ["chat", path, "--template", "chatml", "-c", "60000", "--no-save"]):
        code, out, err = said(*command)  # type: ignore[operator]
        assert (code, out) == (6, "")
        assert "is the largest context that fits; -y tries it anyway" in err
    assert said(*run, "-c", "60000", "-y")[0] == 0  # type: ignore[operator]


PEAK = """
import re, sys
from llmlocal.generation.session import Session
from llmlocal.model_info.memory import memory
from llmlocal.chat_format.prompt import Prompt
path, n = sys.argv[1], int(sys.argv[2])
with Session.open(path, n_ctx=n) as s:
    for _ in s.answer(Prompt("", [5 + i % 200 for i in range(n - 4)], False), max_tokens=4): pass
    told = memory(s.gguf.metadata, s.gguf.tensors, n).total
status = open("/proc/self/status").read()  # not getrusage, which knows the parent's size too
print(told / (1024 * int(re.search(r"VmHWM:\\s*(\\d+)", status)[1])))
"""
CONFIGURATIONS = [("tiny-llama", 512), ("tiny-llama", 8192), ("tiny-llama-256", 2048)]
CONFIGURATIONS += [pytest.param("tiny-llama-256", 32768, marks=pytest.mark.slow)]


def ratio(path: Path, n_ctx: int) -> float:
    run = [sys.executable, "-c", PEAK, str(path)]
    subprocess.run([*run, "64"], check=True, capture_output=True)  # kernels are compiled now, if they must be
    return float(subprocess.run([*run, str(n_ctx)], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
@pytest.mark.parametrize(("shape", "n_ctx"), CONFIGURATIONS)
def test_prediction_is_near_the_peak(tmp_path: Path, shape: str, n_ctx: int) -> None:
    make_model.make_model(shape, tmp_path / "m.gguf")
    assert ratio(tmp_path / "m.gguf", n_ctx) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n_ctx"), [("Q4_0", 512), ("Q4_0", 4096), ("Q8_0", 2048)])
def test_prediction_is_near_the_peak_of_a_large_model(tmp_path: Path, kind: str, n_ctx: int) -> None:
    make_model.make_model("llama-1b", tmp_path / "m.gguf", form=kind)
    assert ratio(tmp_path / "m.gguf", n_ctx) == pytest.approx(1, abs=0.1)


def test_program_has_the_option() -> None:
    out = subprocess.run([*PROGRAM, "run", "--help"], capture_output=True, text=True, check=True).stdout
    assert "--yes" in out


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_end_of_memory_is_no_internal_error(
    error: Exception, wrapped: bool, said: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a library wraps it, as llvmlite does when it cannot be loaded."""

    def fail(*_: object, **__: object) -> None:
        try:
            raise error
        except Exception as cause:
            if wrapped:
                raise OSError("could not load a library") from cause
            raise

    monkeypatch.setattr("llmlocal.generation.session.Session.open", fail)
    code, out, err = said("run", "m", "a", "--no-stdin")
    assert (code, out) == (6, "") and err.splitlines()[0] == "error: not enough memory"


SMALL = {20: 6, 80: 6, 110: 6, 2000: 0}  # MiB of address space, and the exit code


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not enforced")
@pytest.mark.parametrize("limit", SMALL)
def test_little_address_space_is_one_line(tmp_path: Path, limit: int) -> None:
    """OpenBLAS, which NumPy brings, would end the process itself, with a code and lines of its own."""
    make_model.make_model("tiny-llama-256", path := tmp_path / "m.gguf")
    code = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit << 20}, {limit << 20}))\n"
    code += "from llmlocal.__main__ import main; raise SystemExit(main())"
    command = [sys.executable, "-c", code, "run" if SMALL[limit] else "tokenize", path, "a", "--no-stdin"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, bool(done.stdout)) == (SMALL[limit], not SMALL[limit]), done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("hint: ")] == (
        ["error: not enough memory"] if SMALL[limit] else []
    )


def test_the_compiler_is_not_begun_without_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """LLVM would end the process."""
    monkeypatch.setenv("LLMLOCAL_CACHE", str(tmp_path))
    monkeypatch.setattr(linker, "COMPILER", 1 << 60)
    with pytest.raises(MemoryError):
        linker.address_of(Kernel("never_compiled", (), lambda v: None))


def test_memory_that_ends_while_the_program_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Module:
        def __getattr__(self, name: str) -> None:
            raise MemoryError

    monkeypatch.setitem(sys.modules, "llmlocal.cli.main", Module())
    before = signal.getsignal(signal.SIGINT)
    assert __main__.main() == 6
    signal.signal(signal.SIGINT, before)
    assert capfd.readouterr() == ("", "error: not enough memory\n")


@pytest.mark.parametrize(
    ("error", "line", "hint"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open", "ulimit -n"),
        (RuntimeError("can't start new thread"), "not enough memory", "ulimit -u"),
        (MemoryError(), "not enough memory", "smaller model"),
    ],
)
def test_the_hint_names_the_limit(
    said: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, error: Exception, line: str, hint: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("llmlocal.generation.session.Session.open", fail)
    code, out, err = said("run", "m", "a", "--no-stdin")
    assert (code, out, err.splitlines()[0]) == (6, "", f"error: {line}") and hint in err.splitlines()[1]
