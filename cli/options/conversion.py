"""Conversion and quantization."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..choices import Stored
from ..model_argument import ModelName
from ..option_groups import OptionGroup, option, parameter, positional

HFFolder = Annotated[Path, positional("SRC", "A Hugging Face model folder; with --lora, a GGUF file, too.")]
NewModel = Annotated[Path, positional("OUT", "The GGUF file to write.")]
StoredType = Annotated[
    Stored,
    parameter(
        "--type",
        "Type of the weight matrices; auto keeps BF16, Q8_0 and blocks of quantized folders, and uses F16 "
        "for the rest.",
    ),
]
Adapters = Annotated[
    list[Path] | None,
    parameter(
        "--lora ADAPTER",
        "Merge this LoRA adapter (PEFT folder or GGUF file, or a task of Jina Embeddings); may be repeated.",
    ),
]
BaseModel = Annotated[
    Path | None,
    parameter(
        "--base GGUF",
        "SRC is a LoRA adapter (PEFT folder) of this model: write it as a GGUF adapter. Default: SRC is a model.",
    ),
]
QuantizeWords = Annotated[
    list[Path],
    positional(
        "SRC [OUT] TYPE",
        "SRC: a model's name, a GGUF file or a Hugging Face folder. OUT: the GGUF file to write. Default: SRC's "
        "name with TYPE, beside SRC, or here if SRC is a downloaded model. TYPE: the quantization, such as Q4_K_M.",
        parser=ModelName,
    ),
]
ListTypes = Annotated[
    bool, parameter("--list", "List all types with the bits per weight, file size and memory SRC would have.")
]
SplitSize = Annotated[
    str | None, parameter("--split-size SIZE", "Split the output into files of at most SIZE, such as 2G.")
]
CheckAfter = Annotated[bool, parameter("--check", "Afterwards compare the predictions with SRC's on a page of text.")]
EachTensor = Annotated[bool, parameter("-v --verbose", "Print the relative RMSE of each tensor on stderr.")]


class TypeRules(OptionGroup):
    """Which type each tensor gets."""

    target_size: str | None = option(
        "--target-size SIZE", "Choose the best type whose file is at most SIZE, such as 4G."
    )
    tensor_type: list[str] | None = option(
        "--tensor-type PATTERN=TYPE",
        "Type of the tensors whose name matches PATTERN (a regular expression); may be repeated.",
    )
    output_type: str | None = option("--output-type TYPE", "Type of the output tensor. Default: chosen by TYPE.")
    embed_type: str | None = option("--embed-type TYPE", "Type of the token embeddings. Default: chosen by TYPE.")
    pure: bool = option(
        "--pure", "Use the base type for all tensors, also for those that TYPE gives more bits.", default=False
    )
    imatrix: Path | None = option(
        "--imatrix FILE",
        "Importance matrix of llmlocal imatrix or llama-imatrix (GGUF or .dat), which some types need. Default: none.",
    )
    effort: str = option(
        "--effort normal|high", "high searches longer for a smaller error and reports the gain.", default="normal"
    )
    allow_requantize: bool = option(
        "--allow-requantize", "Quantize already quantized tensors again, which loses quality.", default=False
    )
