"""Gemma 3n, text (Google 2025): four residual streams (AltUp), a low-rank path beside attention (LAuReL), an embedding
in every block, sparse activations in the first blocks, and keys and values that the last blocks share."""

from __future__ import annotations

from statistics import NormalDist

from ..hf.config import Keys, Settings, as_number
from ..hf.conversion import Conversion, decoder_keys, drops_if_tied, pads_vocabulary, renames, sliding_layers
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers.decoder import logits, norm
from ..layers.gemma.altup import corrected, merged, predicted, scaled, spread
from ..layers.gemma.per_layer_inputs import PerLayerInputs
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope_scaling import rope_parameters, unscaled_rope
from ..layers.weights import Weights
from ..ops.activation_sparsity import gaussian_topk
from ..ops.altup import STREAMS
from ..runtime.graph import Value
from ..runtime.kv_cache import LayerCache
from .gemma4 import attention

PERIOD = 5  # the last of so many blocks has full attention
SPARSE_BLOCKS, SPARSE = 10, 0.95  # by default: how many blocks, and the share of activations that they drop


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h, active = Hyperparameters.read(c, w), c.integer("altup.active_idx", 0, STREAMS - 1, 0)
    c.integer("altup.num_inputs", STREAMS, STREAMS, STREAMS)
    embedding = w.matrix("token_embd.weight", vocab, h.width)
    full = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    base = c.number("rope.freq_base_swa", 1e-3, 1e12, 10000.0)
    local = g.rope(unscaled_rope(h.rotary_dim, base), interleaved=False)
    x = g.scale(g.embed(embedding), h.width**0.5)
    inputs = PerLayerInputs(c, h, w, vocab, x)
    streams = spread(g, x, w.matrix("altup_proj.weight", STREAMS - 1, h.width, h.width))
    own = h.blocks - c.integer("attention.shared_kv_layers", 0, h.blocks, 0)  # blocks with keys of their own
    sparsity = c.numbers("activation_sparsity_scale", h.blocks) or default_sparsity(h.blocks)
    stored: dict[int | None, LayerCache] = {}
    for i, window in enumerate(windows(c, h.blocks, period=PERIOD)):
        h, b = h.block(i), w.block(i)
        predictions = predicted(g, h, b, streams, active)
        n, keys = norm(g, h, b, "attn_norm", predictions[active]), stored.get(window) if i >= own else None
        if keys is None:  # unlike Gemma 4, no block may do without
            b.matrix("attn_v.weight", h.kv_dim, h.width)
        attended, stored[window] = attention(g, h, b, n, local if window else full, window, keys)
        y = g.add(norm(g, h, b, "post_attention_norm", attended), predictions[active])
        y = g.scale(g.add(g.add(y, laurel(g, h, b, n)), n), 0.5**0.5)
        mlp = feed_forward(g, h, b, norm(g, h, b, "ffn_norm", y), sparsity[i])
        streams = corrected(g, h, b, predictions, g.add(norm(g, h, b, "post_ffw_norm", mlp), y), active)
        more = inputs.gated(g, h, b, scaled(g, h, b, streams[active]), i)
        streams = [streams[0], *(g.add(stream, more) for stream in streams[1:])]
    unembedding = w.matrix("altup_unembd_proj.weight", STREAMS - 1, h.width, h.width)
    last = merged(g, [g.outputs(x) for x in streams], unembedding)
    out = logits(g, h, w, norm(g, h, w, "output_norm", last), embedding)
    return g.softcap(out, c.number("final_logit_softcapping", 0, 1e6, 30.0))


def laurel(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """norm(right(left(x))): a matrix of low rank beside attention (Menghani et al. 2024, arXiv 2411.07501)."""
    rank = w.rows("laurel_l.weight")
    left = g.linear(x, w.matrix("laurel_l.weight", rank, h.width))
    return norm(g, h, w, "laurel_post_norm", g.linear(left, w.matrix("laurel_r.weight", h.width, rank)))


def feed_forward(g: Layers, h: Hyperparameters, w: Weights, x: Value, deviations: float) -> Value:
    """GeGLU; where `deviations` is finite, what is less than so many above the mean of the gate is dropped."""
    gate, up = g.linears(x, w.linear("ffn_gate", h.ffn, h.width), w.linear("ffn_up", h.ffn, h.width))
    if deviations > -float("inf"):
        g.graph.add(gaussian_topk, tokens=g.graph.batch.tokens, x=gate, width=h.ffn, deviations=deviations)
    return g.linear(g.geglu(gate, up), *w.linear("ffn_down", h.width, h.ffn))


def default_sparsity(blocks: int) -> list[float]:
    """For each block, how many standard deviations above the mean activations must be; -inf for all of them."""
    return [NormalDist().inv_cdf(SPARSE) if i < SPARSE_BLOCKS < blocks else -float("inf") for i in range(blocks)]


def keys(s: Settings) -> Keys:
    """Metadata from config.json."""
    slides, shares = sliding_layers(s, period=PERIOD), s.items("activation_sparsity_pattern")
    dropped = [as_number(s, "activation_sparsity_pattern", share) for share in shares]
    if any(not 0 <= share < 1 for share in dropped):
        raise s.fail("activation_sparsity_pattern must have numbers from 0 to below 1")
    given = [NormalDist().inv_cdf(share) if share else -float("inf") for share in dropped]
    return decoder_keys(s) | {
        "activation_sparsity_scale": given or default_sparsity(len(slides)),
        "altup.active_idx": s.integer("altup_active_idx"),
        "altup.num_inputs": s.integer("altup_num_inputs"),
        "attention.shared_kv_layers": s.integer("num_kv_shared_layers"),
        "attention.sliding_window": s.integer("sliding_window"),
        "attention.sliding_window_pattern": slides,
        "embedding_length_per_layer_input": s.integer("hidden_size_per_layer_input"),
        "final_logit_softcapping": s.number("final_logit_softcapping"),
    }


SIZES = {"head_dim": 256, "hidden_size_per_layer_input": 256, "sliding_window": 512, "num_kv_shared_layers": 15}
ALTUP = {"altup_active_idx": 0, "altup_num_inputs": 4, "final_logit_softcapping": 30.0, "rms_norm_eps": 1e-6}
CONVERSION = Conversion(
    classes=("Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"),
    defaults={"rope_theta": 1e6, "rope_local_base_freq": 1e4} | SIZES | ALTUP,
    keys=keys,
    steps={
        r"^model\.embed_tokens(_per_layer)?\.weight$": pads_vocabulary,
        r"\.correct_output_scale$": renames(".correct_output_scale.weight"),
        r"^lm_head\.weight$": drops_if_tied(llama_cpp_reads_it=True),
    },
    activations=TANH_GELU,
)
