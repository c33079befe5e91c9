"""Assistants of Gemma 4 (Google 2026), which predict further tokens for such a model: small blocks with queries alone,
which attend to keys and values of the model, and read its states. The head may choose clusters of tokens first."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import UsageError
from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, renames
from ..hf.streams import Stream, constant
from ..layers import Layers
from ..layers.decoder import Head, logits, norm, scaled_output
from ..layers.gemma.token_clusters import CENTROIDS, ORDER, cluster_logits, has_clusters
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..quant.tensor import QTensor
from ..runtime.kv_cache import LayerCache
from . import ASSISTANT, gemma4

KIND = ASSISTANT
CLUSTERS_USED = 32


def assist(
    g: Layers, c: Config, w: Weights, vocab: int, embedding: QTensor, keys: Mapping[int | None, LayerCache]
) -> Head:
    """Record the assistant of a model with the token `embedding` (vocab, width), and `keys` by their window.

    `Head.states` and `Head.last` have the width of the model. A token attends to the keys up to its position in the
    batch; its rotation is that of the next one, which holds for each further token, too. Raises BadFileError for a
    wrong file, UsageError for that of another model.
    """
    h, width = Hyperparameters.read(c, w), c.integer("embedding_length_out", 1, 1 << 20)
    if width != embedding.k:
        raise _foreign(w, f"for a width of {width}, and this model has {embedding.k}")
    local, base = h.windowed(c), c.number("rope.freq_base_swa", 1e-3, 1e12, 10000.0)
    ropes = (
        g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False),
        g.rope(unscaled_rope(local.rotary_dim, base), interleaved=False),
    )
    states, both = g.graph.value(width), g.graph.value(2 * width)
    g.graph.keep(states)
    for at, x in enumerate((g.scale(g.table_rows(embedding), width**0.5), states)):
        g.copy_columns(x, both, at * width, first=0, width=width)
    x = g.linear(both, *w.linear("nextn.pre_projection", h.width, 2 * width))
    for i, window in enumerate(windows(c, h.blocks, period=gemma4.PERIOD)):
        s, b = (local if window else h).block(i), w.block(i)
        stored = keys.get(window)
        if stored is None or stored.head_dim != s.head_dim or s.heads % stored.kv_heads:
            raise _foreign(w, f"block {i} does not fit the keys of this model")
        x = scaled_output(g, b, gemma4.sublayers(g, s, None, b, x, ropes[bool(window)], window, stored)[0])
    x = norm(g, h, w, "output_norm", x)
    last = g.linear(g.outputs(x), *w.linear("nextn.post_projection", width, h.width))
    g.graph.keep(last)
    own = w.matrix("token_embd.weight", vocab, h.width)
    if has_clusters(w):
        used = c.integer("masked_embd_used_count", 1, vocab, CLUSTERS_USED)
        clusters = cluster_logits(g, w, x, own, used)
        clusters.keep(g)
        return Head(states, last, None, clusters)
    out = logits(g, h, w, g.outputs(x), own)
    g.graph.keep(out)
    return Head(states, last, out)


def _foreign(w: Weights, why: str) -> UsageError:
    return UsageError(f"{w.gguf.path}: is the assistant of another model: {why}", "name another --draft")


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    s.find("num_centroids")  # the tensor tells it
    blocks = s.integer("num_hidden_layers")
    used = s.integer("centroid_intermediate_top_k", default=CLUSTERS_USED)
    return gemma4.keys(s) | {
        "attention.shared_kv_layers": blocks,
        "embedding_length_out": s.integer("backbone_hidden_size"),
        "nextn_predict_layers": blocks,
        "masked_embd_used_count": used if s.flag("use_ordered_embeddings") else None,
    }


def token_order(s: Settings, x: Stream) -> dict[str, Stream]:
    """The ids of tokens in the order of clusters: they are integers, which float32 holds exactly."""
    stored = {"I64": "<i8", "I32": "<i4"}.get(x.format)
    if stored is None or x.blocks is None:
        raise s.fail("masked_embedding.token_ordering must be integers")
    return {ORDER: constant(x.blocks.read(0, 1).view(stored).reshape(-1))}


ORDERING = "masked_embedding.token_ordering"
CONVERSION = Conversion(
    classes=("Gemma4AssistantForCausalLM", "Gemma4UnifiedAssistantForCausalLM"),
    defaults={**gemma4.CONVERSION.defaults, "tie_word_embeddings": True},
    keys=keys,
    extra=gemma4.CONVERSION.extra,
    steps={
        **gemma4.CONVERSION.steps,
        r"^(pre|post)_projection\.weight$": renames(r"nextn.\1_projection.weight"),
        r"^masked_embedding\.centroids\.weight$": renames(CENTROIDS),
        rf"^{re.escape(ORDERING)}$": token_order,
    },
    activations=gemma4.CONVERSION.activations,
    ranked_merges=gemma4.CONVERSION.ranked_merges,
    named_as="gemma4",
    own_names=("nextn.pre_projection", "nextn.post_projection", CENTROIDS, ORDER),
    integers=(ORDERING,),
)
