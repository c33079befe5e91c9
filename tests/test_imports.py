"""The house: who imports whom, who prints, how large things are, and what a start costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"quant": "llmlocal.quant", "llmlocal": "llmlocal", "cli": "llmlocal.cli"}  # lowest first
# Lowest first. A folder is a room, and so is a file beside the folders; those of one line do not import each other.
ROOMS = """
quant.simd quant.cgroups quant.machine quant.cache_tag quant.private_folder quant.user_folders quant.address_space
quant.scale_search quant.format
quant.isa quant.jit quant.tensor quant.blocks
quant.formats
quant.kernels quant.recipes
quant.quantizer
quant errors text
files tokenizer guide
gguf constraints speculation
chat_format
hf ops
runtime
layers
models
source_encoder predictor model_sizes
assistant lora sequences
engine model_info
encoder hub
draft
engine_plan
generation convert embedding
chat measure doctor scheduler records
api batch imatrix serving
quantize
cli.choices cli.help_format cli.option_groups cli.numpy_loader cli.parse_errors
cli.ui
cli.views cli.command_group
cli.model_argument cli.text_input
cli.options cli.completion_scripts cli.texts
cli.open_model cli.config
cli.batch cli.served_models
cli.chat
cli.commands cli.main
cli __main__
""".strip().splitlines()
ROOM_FILES, LARGE_ROOMS = 16, ("llmlocal/models", "quant/formats", "cli/commands", "llmlocal/ops")
DRAWS = "cli/ui/"
DOOR = "llmlocal/__main__.py"  # `python -m llmlocal` must lie in llmlocal and start the terminal program
# Statements at most, imports and docstrings not counted: how much there is to understand, however it is laid out.
FILE_STATEMENTS, FUNCTION_STATEMENTS = 250, 40
BUDGETS = {"llmlocal/models": 60, "quant/formats": 80, "cli/commands": 25}
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def installed_name(path: Path) -> list[str]:
    """Module path of a file as it is installed: cli/ui.py is llmlocal.cli.ui.terminal."""
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    return [*FOLDERS[folder].split("."), *rest]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything that a file imports, wherever in it."""
    package = installed_name(path)[:-1]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((node.lineno, ".".join([*whole, alias.name])) for alias in node.names)


def statements(tree: ast.AST) -> int:
    """How many statements lie within a node: the node itself, imports and docstrings are not counted."""
    return sum(
        isinstance(node, ast.stmt)
        and not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in ast.walk(tree)
        if node is not tree
    )


def calls(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def module_of(path: Path) -> str:
    return ".".join(installed_name(path)).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def edges(path: Path) -> set[str]:
    """Our own modules that a file imports, wherever in it; a registry's `import_module` is not seen."""
    found = set()
    for _, name in imports(path):
        while name and name not in MODULES:
            name = name.rpartition(".")[0]
        found.add(name)
    return found - {"", "llmlocal", module_of(path)}


def room_of(module: str) -> str:
    """`quant.jit`, `cli.ui`, `ops`: a folder of one of the packages, or a file that lies in none."""
    parts = module.split(".")[1:]
    return ".".join(parts[: 2 if parts[:1] in (["quant"], ["cli"]) else 1])


def test_rooms_are_listed() -> None:
    named = [room for line in ROOMS for room in line.split()]
    assert sorted(named) == sorted({room_of(module) for module in MODULES} - {""})


def test_imports_run_down_the_rooms() -> None:
    """A room imports itself and the rooms of lines above its own; rooms of one line do not know each other."""
    height = {room: i for i, line in enumerate(ROOMS) for room in line.split()}
    height[""] = height["api"] + 1  # llmlocal/__init__ gives out what lies in api
    wrong = [
        f"{name_of(path)} imports {other}"
        for module, path in MODULES.items()
        for other in edges(path)
        if room_of(other) != room_of(module) and height[room_of(other)] >= height[room_of(module)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others() -> None:
    graph = {module: edges(path) for module, path in MODULES.items()}
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                walk(other, (*way, module))
            done.add(module)

    for module in graph:
        walk(module, ())


def test_rooms_are_small_enough_to_be_taken_in() -> None:
    wrong = [
        f"{folder.relative_to(ROOT)}: {count} files"
        for folder in {path.parent for path in FILES}
        if (count := len(list(folder.glob("*.py"))) - 1) > ROOM_FILES
        and folder.relative_to(ROOT).as_posix() not in LARGE_ROOMS
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
    """What a program that we start reads is another one."""
    texts = {name_of(path): re.sub(r"process\.stdin|stdin=pipe", "", path.read_text()) for path in FILES}
    assert not [name for name, text in texts.items() if "stdin" in text and not name.startswith("cli/")]


def test_size_budgets() -> None:
    wrong = []
    for path in FILES:
        tree = parsed(path)
        limit = BUDGETS.get(path.parent.relative_to(ROOT).as_posix(), FILE_STATEMENTS)
        sizes = [(name_of(path), statements(tree), limit)]
        sizes += [
            (f"{name_of(path)}:{node.lineno} {node.name}", statements(node), FUNCTION_STATEMENTS)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        wrong += [f"{name}: {size} statements, at most {most}" for name, size, most in sizes if size > most]
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
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["bench", "--help"],
        ["pull", "--help"],
        ["serve", "-h"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert not {"numpy", "numba", "llvmlite", "rich", "starlette", "uvicorn"} & loaded(HELP.format(arguments=arguments))


def test_formats_are_known_without_numpy() -> None:
    code = """
from llmlocal.quant.format import BY_ID
from llmlocal.quant.formats import load_all
load_all()
assert len(BY_ID) >= 9
assert all(f.name and f.block and f.row_bytes(f.block) == f.nbytes for f in BY_ID.values())
"""
    assert not {"numpy", "numba", "llvmlite"} & loaded(code)
