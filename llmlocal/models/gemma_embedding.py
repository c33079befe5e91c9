"""EmbeddingGemma (Vera et al. 2025, arXiv 2509.20354): Gemma 3 whose tokens see the text on both sides, within a window
in most blocks; two matrices follow the pooled states."""

from __future__ import annotations

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, dense_modules
from ..hf.streams import Stream
from ..layers import Layers
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER, gemma3

KIND = ENCODER
build = gemma3.build  # what its output matrix would read are the states


def projection(g: Layers, c: Config, w: Weights, x: Value) -> Value:
    """The vector of a text from its pooled states (outputs, width): two linear layers, if the file has them."""
    width = Hyperparameters.read(c, w).width
    if not w.has("dense_2.weight"):
        return x
    inner = c.integer("dense_2_feat_out", 1, 1 << 20)
    x = g.linear(x, w.matrix("dense_2.weight", inner, width))
    return g.linear(x, w.matrix("dense_3.weight", c.integer("dense_3_feat_out", 1, 1 << 20), inner))


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    if not s.flag("use_bidirectional_attention"):
        raise s.fail("Gemma3TextModel without use_bidirectional_attention is not supported", "")
    sizes: Keys = {"attention.causal": False}
    for name, matrix in dense_modules(s):
        sizes |= {f"{name}_feat_in": matrix.k, f"{name}_feat_out": matrix.rows}
    return gemma3.keys(s) | sizes


def dense_layers(s: Settings) -> dict[str, Stream]:
    """The two matrices that follow pooling, from sentence-transformers' modules."""
    return {f"{name}.weight": matrix for name, matrix in dense_modules(s)}


CONVERSION = Conversion(
    classes=("Gemma3TextModel",),
    defaults=gemma3.CONVERSION.defaults,
    keys=keys,
    steps=gemma3.CONVERSION.steps,
    extra=dense_layers,
    modules=("Dense",),
    activations=gemma3.CONVERSION.activations,
)
