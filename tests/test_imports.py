"""The house: who imports whom, who prints, how large things are, and what a start costs."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"quant": "llmlocal.quant", "llmlocal": "llmlocal", "cli": "llmlocal.cli"}  # lowest first
DRAWS = "cli/ui/"
DOOR = "llmlocal/__main__.py"  # `python -m llmlocal` must lie in llmlocal and start the terminal program
FILE_LINES, FUNCTION_LINES = 400, 50
BUDGETS = (("llmlocal/models/*.py", 120), ("quant/formats/*.py", 150))
COMMAND_LINES = 60
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def installed_name(path: Path) -> list[str]:
    """Module path of a file as it is installed: cli/ui.py is llmlocal.cli.ui."""
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    return [*FOLDERS[folder].split("."), *rest]


def level(module: str) -> int | None:
    """0 for quant, 1 for llmlocal, 2 for cli, None for others' modules."""
    if module.split(".")[0] != "llmlocal":
        return None
    second = f"{module}.".split(".")[1]
    return list(FOLDERS).index(second) if second in ("quant", "cli") else 1


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything that a file imports, wherever in it."""
    package = installed_name(path)[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((node.lineno, ".".join([*whole, alias.name])) for alias in node.names)


def defined(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of every function of a file."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno
            yield f"{name_of(path)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def calls(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def test_imports_run_one_way() -> None:
    wrong = [
        f"{name_of(path)}:{line} imports {module}"
        for path in FILES
        for line, module in imports(path)
        if (level(module) or 0) > list(FOLDERS).index(name_of(path).split("/")[0]) and name_of(path) != DOOR
    ]
    assert not wrong, "\n".join(wrong)


def test_only_ui_draws() -> None:
    """Nobody else prints, writes to a standard stream, or loads a library that draws."""
    wrong = []
    for path in FILES:
        if name_of(path).startswith(DRAWS):
            continue
        wrong += [
            f"{name_of(path)}:{line} {call}()"
            for line, call in calls(path)
            if call in ("print", "typer.echo", "typer.secho") or call.startswith(("sys.stdout.", "sys.stderr."))
        ]
        wrong += [f"{name_of(path)}:{line} {m}" for line, m in imports(path) if m.split(".")[0] == "rich"]
    assert not wrong, "\n".join(wrong)


def test_only_cli_reads_stdin() -> None:
    wrong = [name_of(path) for path in FILES if "stdin" in path.read_text() and not name_of(path).startswith("cli/")]
    assert not wrong


def test_size_budgets() -> None:
    from llmlocal.cli.main import COMMANDS

    limits = dict.fromkeys(FILES, FILE_LINES)
    for pattern, lines in BUDGETS:
        limits |= dict.fromkeys(ROOT.glob(pattern), lines)
    limits |= {ROOT / f"cli/{command}.py": COMMAND_LINES for command in COMMANDS}
    sizes = [(name_of(path), len(path.read_text().splitlines()), limit) for path, limit in limits.items()]
    sizes += [(name, lines, FUNCTION_LINES) for path in FILES for name, lines in defined(path)]
    wrong = [f"{name}: {lines} lines, at most {limit}" for name, lines, limit in sizes if lines > limit]
    assert not wrong, "\n".join(wrong)


def test_packages_equal_folders() -> None:
    """A folder that pyproject forgets would be missing from the wheel."""
    folders = {
        ".".join(installed_name(path)[:-1]): path.parent.relative_to(ROOT).as_posix()
        for path in FILES
        if path.name == "__init__.py"
    }
    assert {path.parent for path in FILES} == {ROOT / folder for folder in folders.values()}
    setuptools = PYPROJECT["tool"]["setuptools"]
    assert sorted(setuptools["packages"]) == sorted(folders)
    assert setuptools["package-dir"] == folders


def loaded(code: str) -> set[str]:
    """Names of the modules that a fresh interpreter holds after `code`."""
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; sys.stderr.write(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in out.stderr.split()}


HELP = "from llmlocal.cli.main import main\nassert main({arguments}) == 0"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], ["bench", "--help"], ["pull", "--help"]], ids=" ".join
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert not {"numpy", "numba", "llvmlite", "rich"} & loaded(HELP.format(arguments=arguments))


def test_formats_are_known_without_numpy() -> None:
    code = """
from llmlocal.quant.format import BY_ID, load_all
load_all()
assert len(BY_ID) >= 9
assert all(f.name and f.block and f.row_bytes(f.block) == f.nbytes for f in BY_ID.values())
"""
    assert not {"numpy", "numba", "llvmlite"} & loaded(code)
