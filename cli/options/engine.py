"""How a model is opened."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

from ...errors import UsageError
from ...text import escaped
from ..choices import Cache, Speculate, Weights
from ..model_argument import draft_name
from ..option_groups import SETTING, OptionGroup, option, parameter

MOST_THREADS, MOST_CONTEXT = 1024, 1 << 31  # more than any machine has, and than any model is trained on
Yes = Annotated[bool, parameter("-y --yes", "Run even if memory seems too small.")]
Threads = Annotated[
    int | None,
    parameter("-t --threads N", "Number of threads. Default: one per physical core.", min=1, max=MOST_THREADS),
    SETTING,
]
Ctx = Annotated[
    int | None,
    parameter("-c --ctx N", "Context size in tokens. Default: the model's own, at most 4096.", min=1, max=MOST_CONTEXT),
    SETTING,
]
KvType = Annotated[Cache, parameter("--kv-type", "KV cache type: f16, or q8_0 for about half the memory."), SETTING]
WeightsMode = Annotated[
    Weights,
    parameter(
        "--weights",
        "map reads weights from the file as they are needed; copy loads them into memory in an order that makes "
        "generation faster; auto copies where memory suffices.",
    ),
    SETTING,
]
SpeculateMode = Annotated[
    Speculate,
    parameter(
        "--speculate",
        "Check several proposed tokens in one step; the text stays the same. auto proposes where that is faster, "
        "ngram wherever the text repeats itself, draft always with --draft, mtp always with the block of a model that "
        "predicts further tokens or with its assistant, off nothing.",
    ),
    SETTING,
]
DraftModel = Annotated[
    Any,  # Path | str | None
    parameter(
        "--draft MODEL",
        "A smaller model of the same vocabulary, or the assistant of the model, which proposes tokens with "
        "--speculate auto or draft; auto takes the smallest on this machine with at most a fifth of the weights. "
        "Default: none.",
        parser=draft_name,
    ),
]
LoraAdapters = Annotated[
    list[str] | None,
    parameter(
        "--lora ADAPTER[=SCALE]",
        "Add this LoRA adapter (PEFT folder or GGUF file) to the weights, SCALE times; may be repeated. "
        "Default: none, and 1 for SCALE.",
    ),
]


class ModelOptions(OptionGroup):
    """How a model is opened. `preset` names settings; the parser has taken them (`cli/config`)."""

    ctx: Ctx = None
    threads: Threads = None
    kv_type: KvType = Cache.f16
    weights: WeightsMode = Weights.auto
    yes: Yes = False
    preset: str | None = option(
        "--preset NAME", "Use the settings of this preset (see llmlocal config). Default: none."
    )

    def arguments(self) -> dict[str, Any]:
        """What `Session.open` and a server's settings take."""
        return {
            "n_ctx": self.ctx,
            "n_threads": self.threads,
            "kv_type": self.kv_type,
            "weights": self.weights,
            "force": self.yes,
        }


class DecoderOptions(ModelOptions):
    """How a model is opened that answers prompts."""

    speculate: SpeculateMode = Speculate.auto
    draft: DraftModel = None
    lora: LoraAdapters = None

    def arguments(self) -> dict[str, Any]:
        """What `Session.open` and a server's settings take. Raises UsageError for a scale that is not finite."""
        adapters = tuple(map(scaled_adapter, self.lora or ()))
        return {
            **ModelOptions.arguments(self),
            "speculate": self.speculate.value,
            "draft": self.draft,
            "lora": adapters,
        }


def absolute_adapters(texts: Sequence[str]) -> list[str]:
    """Values of --lora that mean the same from any folder."""
    return [f"{path.absolute()}={scale}" for path, scale in map(scaled_adapter, texts)]


def scaled_adapter(text: str) -> tuple[Path, float]:
    """An adapter's path, and the number after its last `=`, or 1 where that is no number.

    Raises UsageError for a number that is not finite.
    """
    path, _, scale = text.rpartition("=")
    try:
        factor = float(scale)
    except ValueError:
        return Path(text), 1.0
    if not path:
        return Path(text), 1.0
    if not isfinite(factor):
        raise UsageError(f"--lora {escaped(text)}: SCALE is not finite", "such as adapter.gguf=0.5")
    return Path(path), factor
