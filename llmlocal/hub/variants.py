"""Groups a list of files into models: split parts joined, quantizations taken from file names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .remote_file import RemoteFile

# Best first; these may be chosen by default. Twice Q8_0's bytes improve nothing measurable.
# fmt: off
RANK = (
    "Q8_0", "Q6_K_L", "Q6_K", "Q5_K_L", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_L", "Q4_K_M", "Q4_K_S", "IQ4_NL",
    "MXFP4", "Q4_1", "Q4_0", "IQ4_XS", "Q3_K_XL", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K_L", "Q2_K",
)
# fmt: on
LAST = ("BF16", "F16", "F32")  # chosen by default only where there is nothing else
_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
_QUANT = re.compile(
    r"(?:^|[-._ ])((?:UD-)?(?:I?Q\d_[A-Z0-9]+(?:_(?:XXS|XS|S|M|L|XL|NL))?|I?Q\d|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4"
    r"|BF16|F16|FP16|F32|FP32))(?=$|[-. ])",
    re.IGNORECASE,
)
_NOT_MODELS = re.compile(r"(^|[-_./])(mmproj|imatrix)", re.IGNORECASE)


class Variant(NamedTuple):
    """One model: a file, or several parts in order. `quant` is None where the name does not state it."""

    quant: str | None
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all parts together."""
        return sum(file.size for file in self.files)

    @property
    def name(self) -> str:
        """Name of the first part."""
        return self.files[0].name


def quant_of(name: str) -> str | None:
    """The quantization in a file's name, in upper case: `model-q4_k_m-00001-of-00002.gguf` is Q4_K_M."""
    base = name.rsplit("/", 1)[-1]
    stem = _PART.sub("", base.removesuffix(".gguf"))
    found = _QUANT.findall(stem) or _QUANT.findall(name.rpartition("/")[0].rsplit("/", 1)[-1])
    return plain_quant(found[-1]) if found else None


def plain_quant(text: str) -> str:
    """A quantization in standard spelling: fp16 is F16, q4 is Q4_0."""
    text = text.upper()
    return {"FP16": "F16", "FP32": "F32", "MXFP4_MOE": "MXFP4", "Q4": "Q4_0", "Q5": "Q5_0", "Q8": "Q8_0"}.get(
        text, text
    )


def rank(quant: str | None) -> int:
    """Position in the order of quality, 0 the best; unlisted quantizations come last."""
    order = (*RANK, *LAST)
    plain = (quant or "").removeprefix("UD-")
    return order.index(plain) if plain in order else len(order)


def variants(files: Iterable[RemoteFile]) -> list[Variant]:
    """All complete models among files, best first, without projectors (mmproj) and importance matrices."""
    groups: dict[tuple[str, int], dict[int, RemoteFile]] = {}
    for file in files:
        if not file.name.lower().endswith(".gguf") or _NOT_MODELS.search(file.name):
            continue
        stem = file.name[: -len(".gguf")]
        part = _PART.search(stem)
        number, count = (int(part[1]), int(part[2])) if part else (1, 1)
        groups.setdefault((_PART.sub("", stem), count), {})[number] = file
    whole = [
        tuple(parts[i] for i in range(1, count + 1))
        for (_, count), parts in groups.items()
        if count < 1000 and set(parts) == set(range(1, count + 1))
    ]
    found = [Variant(quant_of(parts[0].name), parts) for parts in whole]
    return sorted(found, key=lambda v: (rank(v.quant), v.name))
