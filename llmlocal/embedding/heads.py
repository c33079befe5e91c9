"""Heads of encoders, as `Encoder` takes them: scores of texts, and logits of masked words."""

from __future__ import annotations

from types import ModuleType

from ..errors import UsageError
from ..layers import Layers
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value


def projection(module: ModuleType, g: Layers, c: Config, w: Weights, vocab: int, x: Value) -> Value:
    """Vectors of pooled states x (outputs, width): what the architecture makes of them, if it makes anything."""
    if not hasattr(module, "projection"):
        return x
    vectors: Value = module.projection(g, c, w, x)
    return vectors


def classifier(module: ModuleType, g: Layers, c: Config, w: Weights, vocab: int, x: Value) -> Value:
    """Scores (outputs, labels) of pooled states x. Raises UsageError for a model without such a head."""
    if not hasattr(module, "classifier") or not (w.has("cls.output.weight") or w.has("cls.weight")):
        raise UsageError(f"{c.path} has no head that scores texts", "use a reranker, or compare vectors of embed")
    scores: Value = module.classifier(g, c, w, x)
    return scores


def ranking_vectors(module: ModuleType, g: Layers, c: Config, w: Weights, vocab: int, x: Value) -> Value:
    """Vectors (outputs, n) of states x that a reranker of lists compares: two layers with a ReLU between them."""
    x = g.relu(g.linear(x, w.table("dense_2.weight", x.width)))
    return g.linear(x, w.table("dense_3.weight", x.width))


def masked_words(module: ModuleType, g: Layers, c: Config, w: Weights, vocab: int, x: Value) -> Value:
    """Logits (outputs, vocab) of states x of masked tokens. Raises UsageError for a model without such a head."""
    if not hasattr(module, "word_logits") or not (w.has("mlm_dense.weight") or w.has("output.weight")):
        raise UsageError(
            f"{c.path} has no head that predicts masked words", "convert a model of a class ...ForMaskedLM"
        )
    logits: Value = module.word_logits(g, c, w, vocab, x)
    return logits
