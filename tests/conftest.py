"""What all tests share: a home of their own, a kernel cache that stays warm between runs, the data, slow tests."""

from __future__ import annotations

import gc
import os
import runpy
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from uuid import uuid4

import blas_threads  # noqa: F401  before all that imports NumPy
import pytest
from chats import chat  # noqa: F401  fixtures
from config_files import file  # noqa: F401
from families.checked import checked  # noqa: F401
from hubs import hub, store  # noqa: F401
from hypothesis import settings
from model_fixtures import bert, masked, reranker, small, tale  # noqa: F401

DATA = Path(os.environ.get("LLMLOCAL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
FOLDERS = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".data",
    "XDG_STATE_HOME": ".state",
}
settings.register_profile("no deadline", deadline=None)  # a busy machine is not a fault
settings.load_profile("no deadline")
HUB = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "HUGGINGFACE_HUB_CACHE")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes or need more packages")


def pytest_configure(config: pytest.Config) -> None:
    """Before any test file is imported: kernels go to pytest's own cache, never to the user's.

    Ctrl-C acts as it does in a program of a terminal, in processes of tests, too: a shell's background job ignores it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cache = getattr(config, "cache", None)  # not there with -p no:cacheprovider
    os.environ["LLMLOCAL_CACHE"] = str(cache.mkdir("llmlocal")) if cache else ""


@pytest.hookimpl(optionalhook=True, wrapper=True)  # the lane of ARM has no xdist
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One more than there are cores: some tests wait for other processes."""
    cores = yield
    return cores + ("PYTEST_XDIST_AUTO_NUM_WORKERS" not in os.environ)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = [item for item in items if item.get_closest_marker("slow")]
    if config.getoption("--slow"):
        lanes = [item for item in items if "lane" in getattr(item, "fixturenames", ())]  # of damaged inputs: long then
        for item in slow + lanes:
            item.add_marker(pytest.mark.timeout(0))
    elif len(slow) < len(items):
        config.hook.pytest_deselected(items=slow)  # thousands of skips would take seconds
        left_out = set(slow)
        items[:] = [item for item in items if item not in left_out]
    else:
        for item in slow:
            item.add_marker(pytest.mark.skip(reason="slow: give --slow"))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def isolated(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's folders or settings, or what another test has read."""
    monkeypatch.setenv("HOME", str(home))
    for name, folder in FOLDERS.items():
        monkeypatch.setenv(name, str(home / folder))
    for name in ("LLMLOCAL_DEBUG", "LLMLOCAL_CONFIG", "NO_COLOR", "FORCE_COLOR", *HUB):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("llmlocal.generation.prompt_cache.folder", lambda: home / f"prefixes-{uuid4().hex}")


@pytest.fixture(autouse=True, scope="module")
def settled() -> Iterator[None]:
    """What a module leaves is not looked through again: where kernels were compiled that takes a second.

    A template that is rendered at this moment would exceed its time.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of shared data, see LLMLOCAL_TEST_DATA."""
    if not DATA.is_dir():
        pytest.skip("no shared data beside the checkout (set LLMLOCAL_TEST_DATA)")
    return DATA


@pytest.fixture(scope="session")
def stories(data: Path) -> Path:
    """The folder of the trained 260K model in four formats, with expected.json."""
    return data / "stories260K"


@pytest.fixture
def story(stories: Path) -> Path:
    return stories / "stories260K-Q8_0.gguf"


@pytest.fixture(scope="session")
def malformed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The generated files by their number: M01, ..., V6."""
    folder, generator = tmp_path_factory.mktemp("malformed"), data.parent / "malformed_gguf.py"
    if not generator.exists():
        pytest.skip(f"no {generator}")
    paths = {}
    for name, content in runpy.run_path(str(generator))["C"].items():
        paths[name.split("_")[0]] = path = folder / f"{name}.gguf"
        path.write_bytes(content)
    return paths


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the program in this process: exit code, stdout, stderr. JSON on stdout is as docs/schemas says."""
    from output_schemas import check, prints_json

    from llmlocal.cli.main import main

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        words = [str(argument) for argument in arguments]
        code = main(words)
        out, err = capfd.readouterr()
        if out.startswith("{") and prints_json(words):
            check("list" if words[0] == "ls" else words[0], out)
        return code, out, err

    return run


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Puts a scripted session in the place of a model's; returns its engine."""
    from scripted import session

    def put(*script: int, **more: object) -> object:
        s, engine = session(script, **more)  # type: ignore[arg-type]
        monkeypatch.setattr("llmlocal.generation.session.Session.open", lambda *_, **__: s)
        return engine

    return put
