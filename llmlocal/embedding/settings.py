"""How a model makes vectors, from its metadata: GGUF's pooling type, and what `convert` kept of sentence-transformers.

| key | value |
| --- | --- |
| `<architecture>.pooling_type` | 0 none, 1 mean, 2 cls, 3 last, 4 rank: as in llama.cpp |
| `sentence_transformers.normalize` | whether vectors are scaled to length 1 |
| `sentence_transformers.max_seq_length` | tokens of a text at most |
| `sentence_transformers.prompt_names`, `.prompts` | names of prompts, and the text of each that goes before a text |
| `sentence_transformers.default_prompt_name` | the prompt that is used where none is named |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import models
from ..encoder import CLS, LAST, MEAN
from ..errors import BadFileError, UsageError
from ..gguf import Array, GGUFFile
from ..gguf.values import scalar

PREFIX = "sentence_transformers."
POOLING_TYPES: dict[int, str] = {1: MEAN, 2: CLS, 3: LAST}


@dataclass(frozen=True, slots=True)
class EmbeddingSettings:
    """`pooling` is None where the file names none; `ranks`: the model scores pairs of texts.

    `longest`: tokens of a text at most, None where the file does not say; `prompts`: texts to go before a text by name.
    """

    pooling: str | None
    ranks: bool
    normalize: bool
    longest: int | None
    prompts: Mapping[str, str]
    default_prompt: str | None

    @classmethod
    def read(cls, metadata: Mapping[str, Any], path: str) -> EmbeddingSettings:
        """Read and check the metadata of a file. Raises BadFileError for values of another type."""

        def get(key: str, kind: type, default: Any) -> Any:
            value = metadata.get(key, default)
            if value is not default and type(value) is not kind:
                raise BadFileError(f"{path}: {key} must be {'a string' if kind is str else kind.__name__}")
            return value

        arch = metadata.get("general.architecture")
        try:
            number = scalar(metadata.get(f"{arch}.pooling_type", 0))
        except ValueError:
            number = None
        if type(number) is not int or not 0 <= number <= models.RANK:
            raise BadFileError(f"{path}: {arch}.pooling_type must be 0 to {models.RANK}")
        lists = [metadata.get(PREFIX + key, []) for key in ("prompt_names", "prompts")]
        names, texts = (list(value) if isinstance(value, Array | list) else [value] for value in lists)
        if len(names) != len(texts) or not all(isinstance(text, str) for text in (*names, *texts)):
            raise BadFileError(f"{path}: {PREFIX}prompts must have a text for each name")
        longest = get(PREFIX + "max_seq_length", int, None)
        return cls(
            pooling=POOLING_TYPES.get(number),
            ranks=number == models.RANK,
            normalize=get(PREFIX + "normalize", bool, True),
            longest=longest if longest is None or longest > 0 else None,
            prompts=dict(zip(names, texts, strict=True)),
            default_prompt=get(PREFIX + "default_prompt_name", str, None),
        )

    def prompt(self, name: str | None) -> str:
        """The text of the prompt called `name`, of the model's default without a name. Raises UsageError."""
        name = self.default_prompt if name is None else name
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(sorted(self.prompts))
            hint = f"the model has: {known}" if known else "the model's file has none: write it before the text"
            raise UsageError(f"unknown prompt '{name}'", hint)
        return self.prompts[name]


def rank_pooling(gguf: GGUFFile) -> str:
    """What the head that scores texts reads: the state of the first token, or what the architecture says."""
    module = models.find(gguf.metadata.get("general.architecture"), str(gguf.path))
    pooling: str = getattr(module, "RANK_POOLING", CLS)
    return pooling


def default_pooling(arch: object, path: str) -> str:
    """What is pooled where a file does not say: the mean of an encoder's states, a decoder's last."""
    return LAST if models.kind(models.find(arch, path)) == models.DECODER else MEAN
