"""Built-in chat templates, one Jinja file each, and hints in vocabularies and names that select one."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from ...errors import BadFileError, NotFoundError

FOLDER = Path(__file__).parent
ENDING = ".jinja"
# All of these tokens in the vocabulary, or this word in the model's name: the first match counts.
HINTS = (
    (("<|im_start|>", "<|im_end|>"), "chatml"),
    (("<start_of_turn>", "<end_of_turn>"), "gemma"),
    (("<|user|>", "<|assistant|>"), "zephyr"),
    (("[INST]", "[/INST]"), "mistral"),
)
NAME_HINTS = (
    ("vicuna", "vicuna"),
    ("alpaca", "alpaca"),
    ("zephyr", "zephyr"),
    ("gemma", "gemma"),
    ("mistral", "mistral"),
    ("mixtral", "mistral"),
    ("llama-2", "llama2"),
    ("llama 2", "llama2"),
    ("llama2", "llama2"),
)


def names() -> tuple[str, ...]:
    """Names of the built-in templates, sorted."""
    entries = (entry.name for entry in FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(ENDING) for name in entries if name.endswith(ENDING)))


def source(name: str) -> str:
    """The text of a built-in template."""
    return FOLDER.joinpath(name + ENDING).read_text("utf-8")


def guess(vocabulary: Container[str], model_name: str) -> str | None:
    """The built-in template for a model, by its tokens or its name; None where neither matches."""
    for tokens, name in HINTS:
        if all(token in vocabulary for token in tokens):
            return name
    return next((name for word, name in NAME_HINTS if word in model_name.lower()), None)


def resolve(wanted: str, max_size: int) -> str:
    """The text of a built-in template or of a file. Raises NotFoundError, BadFileError."""
    if wanted in names():
        return source(wanted)
    try:
        with Path(wanted).open("rb") as file:
            data = file.read(4 * max_size + 1)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadFileError(f"{wanted!r} is not UTF-8 text", "give a Jinja template in UTF-8") from None
    except (OSError, ValueError):
        known = ", ".join(names())
        raise NotFoundError(
            f"no template {wanted!r}", f"give a file or one of the built-in templates: {known}"
        ) from None
