"""Blocks that predict one more token than the model does (multi-token prediction, MTP; in GGUF "nextn").

DeepSeek-AI 2024, arXiv 2412.19437, section 2.2: such a block reads what the model made of a token, and the embedding of
the next one, and gives the logits of the one after that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..runtime.graph import Value
from . import Layers
from .decoder import logits, norm
from .hyperparameters import Hyperparameters
from .metadata import Config
from .weights import Weights


@dataclass(frozen=True, slots=True)
class Head:
    """What was recorded of such a block: its input and its results, which are kept.

    `states` (tokens, width) are to be written before each run: what the model made of the token before each of the
    batch, after its last norm. `last` (outputs, width) is what takes their place for the token after, `logits`
    (outputs, vocab) are those of that token.
    """

    states: Value
    last: Value
    logits: Value


def predicting_blocks(c: Config, blocks: int) -> int:
    """How many of the last blocks are such."""
    return c.integer("nextn_predict_layers", 0, blocks - 1, 0)


def head(
    g: Layers,
    h: Hyperparameters,
    c: Config,
    w: Weights,
    vocab: int,
    block: Callable[[Hyperparameters, Weights, Value], Value],
) -> Head:
    """Record the first such block, of which `block` is what it has in common with the others of the model.

    Embedding and output matrix are those of the model where it has none of its own.
    """
    i = h.blocks - predicting_blocks(c, h.blocks)
    h, b = h.block(i), w.block(i)
    shared = w.matrix("token_embd.weight", vocab, h.width)
    own = "nextn.embed_tokens.weight"
    states, both = g.graph.value(h.width), g.graph.value(2 * h.width)
    g.graph.keep(states)
    embedded = g.table_rows(b.matrix(own, vocab, h.width) if b.has(own) else shared)
    for at, x in enumerate((norm(g, h, b, "nextn.enorm", embedded), norm(g, h, b, "nextn.hnorm", states))):
        g.copy_columns(x, both, at * h.width, first=0, width=h.width)
    x = block(h, b, g.linear(both, *b.linear("nextn.eh_proj", h.width, 2 * h.width)))
    ended = b.has("nextn.shared_head_norm.weight")
    last = norm(g, h, b if ended else w, "nextn.shared_head_norm" if ended else "output_norm", g.outputs(x))
    g.graph.keep(last)
    if b.has("nextn.shared_head_head.weight"):
        out = g.logits(last, *b.linear("nextn.shared_head_head", vocab, h.width))
    else:
        out = logits(g, h, w, last, shared)
    g.graph.keep(out)
    return Head(states, last, out)
