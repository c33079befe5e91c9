"""XLNet (Yang et al. 2019, arXiv 1906.08237) as an encoder: all tokens see all others. Scores of attention are sums of
content by content, content by distance, and content by whether both tokens belong to one part of a pair of texts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, TensorRule, drops, head_keys, renames
from ..hf.streams import flattened, transposed
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.decoder import attention_output
from ..layers.encoder import PartsOfPairs, RelativeScores, by_head, distance_rows
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER
from .bert import SORTS, only_in
from .bert import classifier as classifier

KIND = ENCODER
DISTANCE_TABLES = 1  # of vectors that each block has
RANK_POOLING = "last"
CONTEXT = 512  # tokens, with which published models were trained; their settings name no limit


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rows = distance_rows(g, lambda ahead: ahead - ahead.min())
    positions = sinusoids(-np.arange(-g.cache.n_ctx, g.cache.n_ctx), h.width)
    parts = PartsOfPairs(g.graph.batch, c.metadata.get("tokenizer.ggml.cls_token_id"))
    g.tables.append(parts)

    def attention(h: Hyperparameters, b: Weights, x: Value) -> Value:
        linears = (b.matrix(f"attn_{name}.weight", h.q_dim, h.width) for name in "qkv")
        q, k, v = g.linears(x, *((matrix, None) for matrix in linears))
        by_content, by_distance, by_part = (
            g.plus_bias(q, b.vector(f"attn_{name}.bias", h.heads, h.head_dim)) for name in ("q", "rel", "part")
        )
        scores = RelativeScores(g, heads=h.heads, head_dim=h.head_dim, scale=h.head_dim**-0.5)
        matrix = b.matrix("attn_rel.weight", h.q_dim, h.width).dequantize()
        scores.add(by_distance, by_head(positions @ matrix.T, h.heads), rows)
        scores.add_parts(by_part, b.matrix("attn_part.weight", 2, h.q_dim).dequantize(), parts.address)
        out = g.attention(by_content, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, bias=scores.bias)
        return attention_output(g, h, b, out)

    x = g.embed(w.matrix("token_embd.weight", vocab, h.width))
    return blocks.post_norm_encoder(g, h, w, x, attention, lambda h, b, x: blocks.mlp(g, h, b, x))


def sinusoids(distances: NDArray[np.int64], width: int) -> NDArray[np.float64]:
    """Vectors (n, width) of distances: sines, then cosines. Vaswani et al. 2017, arXiv 1706.03762."""
    angles = distances[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[:, :width]


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    fixed = {"attn_type": "bi", "bi_data": False, "same_length": False, "ff_activation": "gelu"}
    head = head_keys(s)
    if head:
        fixed |= {"summary_type": "last", "summary_use_proj": True, "summary_activation": "tanh"}
    wrong = next((name for name, value in fixed.items() if s.find(name) not in (value, None)), None)
    clamp, width, heads = s.find("clamp_len"), s.integer("d_model"), s.integer("n_head")
    if (
        wrong
        or (isinstance(clamp, int) and clamp > 0)
        or not heads
        or s.integer("d_head", default=width // heads) * heads != width
    ):
        raise s.fail(f"{wrong or 'clamp_len or d_head'} has a value that is not supported", "")
    s.find("mem_len", "reuse_len", "use_mems_eval", "use_mems_train", "untie_r", "start_n_top", "end_n_top")
    return head | {
        "context_length": CONTEXT,
        "embedding_length": width,
        "feed_forward_length": s.integer("d_inner"),
        "block_count": s.integer("n_layer"),
        "attention.head_count": heads,
        "attention.layer_norm_epsilon": s.number("layer_norm_eps"),
        "attention.causal": False,
    }


def projection(name: str) -> TensorRule:
    """A matrix (inputs, heads, head_dim) as one of (outputs, inputs)."""
    return lambda _, x: {name: transposed(flattened(x))}


def whole_rows(name: str) -> TensorRule:
    """A tensor (n, heads, head_dim) as a matrix (n, heads * head_dim)."""
    return lambda _, x: {name: flattened(x)}


LAYER = r"^layer\.(\d+)\."
NO_LM_HEAD = "the head that predicts tokens in any order is left out: the model makes vectors"
STEPS: dict[str, TensorRule] = {
    r"^transformer\.": renames(""),
    r"^mask_emb$": drops(),
    r"^lm_loss\.": drops(NO_LM_HEAD),
    r"^word_embedding\.": renames("token_embd."),
    rf"{LAYER}rel_attn\.(q|k|v)$": projection(r"blk.\1.attn_\2.weight"),
    rf"{LAYER}rel_attn\.r$": projection(r"blk.\1.attn_rel.weight"),
    rf"{LAYER}rel_attn\.o$": whole_rows(r"blk.\1.attn_output.weight"),
    rf"{LAYER}rel_attn\.seg_embed$": whole_rows(r"blk.\1.attn_part.weight"),
    rf"{LAYER}rel_attn\.r_w_bias$": renames(r"blk.\1.attn_q.bias"),
    rf"{LAYER}rel_attn\.r_r_bias$": renames(r"blk.\1.attn_rel.bias"),
    rf"{LAYER}rel_attn\.r_s_bias$": renames(r"blk.\1.attn_part.bias"),
    rf"{LAYER}rel_attn\.layer_norm\.": renames(r"blk.\1.attn_output_norm."),
    rf"{LAYER}ff\.layer_norm\.": renames(r"blk.\1.layer_output_norm."),
    rf"{LAYER}ff\.layer_1\.": renames(r"blk.\1.ffn_up."),
    rf"{LAYER}ff\.layer_2\.": renames(r"blk.\1.ffn_down."),
    r"^sequence_summary\.summary\.": only_in(SORTS, "cls."),
    r"^logits_proj\.": only_in(SORTS, "cls.output."),
}
CONVERSION = Conversion(
    classes=("XLNetModel", "XLNetLMHeadModel", f"XLNet{SORTS}"),
    defaults={"layer_norm_eps": 1e-12},
    keys=keys,
    steps=STEPS,
    named_as="bert",
    needs_json=True,
    own_names=("blk.{}.attn_rel", "blk.{}.attn_part"),
    activations=("gelu",),
)
