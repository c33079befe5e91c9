"""A Hugging Face folder: its settings, its JSON files, and the tensors of all its safetensors files by name.

Nothing is ever unpickled, and nothing outside the folder is opened, whatever its files say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BadFileError, NotFoundError
from ..text import escaped, shown
from .json_file import read_list, read_object
from .safetensors import Safetensors
from .streams import Stream

CONFIG, INDEX, CARD = "config.json", "model.safetensors.index.json", "README.md"
MAX_CARD = 1 << 20  # bytes of README.md
PART = re.compile(r"(.*)-[0-9]{5}-of-([0-9]{5})\.safetensors")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
UNPICKLED = "open it once in a sandbox with transformers and save_pretrained(..., safe_serialization=True)"


def inside(path: Path, folder: Path) -> Path:
    """`path`, which is to be opened as a file of `folder`. Raises BadFileError where it is a link that leads outside.

    In the hub's cache (models--org--name/snapshots/revision) files are links into the folder `blobs` beside snapshots.
    """
    home, target = folder.resolve(), path.resolve()
    allowed = [home]
    for place in (home, *home.parents):
        if place.name == "snapshots" and place.parent.name.startswith("models--"):
            allowed.append(place.parent / "blobs")
    if not any(target.is_relative_to(place) for place in allowed):
        raise BadFileError(
            f"{escaped(str(path))}: is a link to a file outside of the folder", "put the file itself into the folder"
        )
    return path


class Folder:
    """A folder with config.json. Raises NotFoundError without one; methods raise BadFileError for damaged files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise NotFoundError(f"{escaped(str(path))}: no such folder")
        if not self.has(CONFIG):
            hint = "a model folder of Hugging Face has one, beside *.safetensors"
            if self.has("adapter_config.json"):
                hint = "this is an adapter: llmlocal convert MODEL_FOLDER OUT --lora ADAPTER merges it into its model"
            raise NotFoundError(f"{escaped(str(path))}: has no {CONFIG}", hint)
        self._read: dict[str, dict[str, Any]] = {}

    def has(self, name: str) -> bool:
        """Whether there is a file of that name. Raises BadFileError where it is a link to a file outside."""
        file = self.path / name
        return os.path.isfile(file) and inside(file, self.path) == file  # false for names that no file can have, too

    def files(self, pattern: str) -> list[Path]:
        """The files that match, sorted by name. Raises BadFileError where one is a link to a file outside."""
        return sorted(path for path in self.path.glob(pattern) if inside(path, self.path).is_file())

    def json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file of the folder, read once; empty if the file does not exist."""
        if name not in self._read:
            self._read[name] = read_object(self.path / name) if self.has(name) else {}
        return self._read[name]

    def json_list(self, name: str) -> list[Any]:
        """The list in a JSON file of the folder; empty if the file does not exist."""
        return read_list(self.path / name) if self.has(name) else []

    def card(self) -> str:
        """The beginning of README.md, which describes the model; empty if the file does not exist."""
        if not self.has(CARD):
            return ""
        with open(self.path / CARD, "rb") as file:
            return file.read(MAX_CARD).decode("utf-8", "replace")

    @contextmanager
    def tensors(self) -> Iterator[dict[str, Stream]]:
        """The tensors of all safetensors files, by name, in the order of the files; open while the block runs."""
        parts: list[Safetensors] = []
        try:
            index = self._index()
            for name in sorted(set(index.values())) if index else self._part_names():
                parts.append(Safetensors(self.path / name))
            yield self._together(parts, index)
        finally:
            for part in parts:
                part.close()

    def _index(self) -> dict[str, str]:
        """Tensor name -> file name, empty without an index. A file name that leads out of the folder is refused."""
        if not self.has(INDEX):
            return {}
        where = escaped(str(self.path / INDEX))
        index = self.json(INDEX).get("weight_map")
        if not isinstance(index, dict) or not all(isinstance(name, str) for name in index.values()):
            raise BadFileError(f"{where}: weight_map must map tensors to files")
        for name in set(index.values()):
            if Path(name).name != name or "\\" in name or ":" in name or not name.endswith(".safetensors"):
                raise BadFileError(f"{where}: {shown(name)} is not the name of a safetensors file in this folder")
        missing = sorted(name for name in set(index.values()) if not self.has(name))
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            name = escaped(missing[0][:64])
            raise BadFileError(f"{escaped(str(self.path))}: {name}{more} missing", "download the missing files")
        return index

    def _part_names(self) -> list[str]:
        names = [path.name for path in self.files("model*.safetensors")]
        if names:
            self._check_all_parts(names)
            return names
        pickles = sorted(path.name for pattern in PICKLES for path in self.path.glob(pattern))
        if pickles:
            raise BadFileError(
                f"{escaped(str(self.path))}: {shown(pickles[0])} is a pickle, which could run any code", UNPICKLED
            )
        raise NotFoundError(f"{escaped(str(self.path))}: no safetensors files")

    def _check_all_parts(self, names: list[str]) -> None:
        """Raises BadFileError where a part is missing of files that are numbered `-00001-of-0000N`."""
        for match in filter(None, map(PART.fullmatch, names)):
            missing = [part for part in (_part(match, i) for i in range(1, int(match[2]) + 1)) if part not in names]
            if missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                where = escaped(str(self.path))
                raise BadFileError(f"{where}: {shown(missing[0])}{more} missing", "download the missing files")

    def _together(self, parts: list[Safetensors], index: Mapping[str, str]) -> dict[str, Stream]:
        out: dict[str, Stream] = {}
        for part in parts:
            for name, stream in part.tensors.items():
                if name in out:
                    raise BadFileError(f"{escaped(str(part.path))}: tensor {shown(name)} is also in another file")
                out[name] = stream
        if index and index.keys() != out.keys():
            name = min(index.keys() ^ out.keys())
            where, other = (index[name], INDEX) if name in index else (INDEX, "files")
            raise BadFileError(
                f"{escaped(str(self.path))}: tensor {shown(name)} of the {other} is not in {where}",
                "download the files again",
            )
        return out


def _part(match: re.Match[str], number: int) -> str:
    return f"{match[1]}-{number:05d}-of-{match[2]}.safetensors"
