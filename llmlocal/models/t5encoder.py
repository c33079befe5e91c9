"""The encoder of T5 alone, with mean pooling and a linear layer in Sentence-T5 (Ni et al. 2021, arXiv 2108.08877)."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion
from ..hf.dense_modules import dense_keys, dense_layers
from ..layers.encoder import dense_projection
from . import ENCODER, t5

KIND = ENCODER
build = t5.encode
projection = dense_projection


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    s.find("num_decoder_layers", "decoder_start_token_id")
    dense = dense_keys(s)
    if dense:
        s.note("a linear layer makes the vectors of pooled states; llama.cpp does not load files that have one")
    return t5.encoder_keys(s) | dense


CONVERSION = Conversion(
    classes=("T5EncoderModel", "MT5EncoderModel", "UMT5EncoderModel"),
    defaults=t5.DEFAULTS,
    keys=keys,
    steps=t5.STEPS,
    extra=dense_layers,
    modules=("Dense",),
)
