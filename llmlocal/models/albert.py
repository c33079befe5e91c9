"""ALBERT (Lan et al. 2019, arXiv 1909.11942): BERT whose blocks share their weights, which the file holds once. Token
embeddings are narrower than the states; a linear layer widens them."""

from __future__ import annotations

from dataclasses import replace

from ..hf.config import Keys, Settings
from ..hf.conversion import Conversion, TensorRule, decoder_keys, drops, head_keys, renames
from ..hf.settings_check import TANH_GELU
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.hyperparameters import Hyperparameters
from ..layers.metadata import Config
from ..layers.weights import Weights
from ..runtime.graph import Value
from . import ENCODER
from .bert import FILLS, SORTS, head_steps

KIND = ENCODER


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the states (tokens, width). Raises BadFileError for a wrong file."""
    h, e = Hyperparameters.read(c, w), narrow(c, w)
    positions = g.embed_positions(w.matrix("position_embd.weight", e.context, e.width))
    x = blocks.norm(g, e, w, "token_embd_norm", g.add(blocks.embedding(g, e, w, vocab), positions))
    x = g.linear(x, *w.linear("token_embd_proj", h.width, e.width))
    repeats = c.integer("block_repeat_count", 1, 1 << 8)
    for i in range(h.blocks):
        for _ in range(repeats):
            x = blocks.post_norm_block(
                g, h, w.block(i), x, lambda h, b, x: blocks.attention(g, h, b, x), lambda h, b, x: mlp(g, h, b, x)
            )
    return x


def narrow(c: Config, w: Weights) -> Hyperparameters:
    """The sizes with the width of token embeddings."""
    return replace(Hyperparameters.read(c, w), width=c.integer("token_embedding_length", 1, 1 << 20))


def mlp(g: Layers, h: Hyperparameters, w: Weights, x: Value) -> Value:
    """down(gelu(up(x)))."""
    x = g.gelu(g.linear(x, *w.linear("ffn_up", h.ffn, h.width)))
    return g.linear(x, *w.linear("ffn_down", h.width, h.ffn))


def classifier(g: Layers, c: Config, w: Weights, x: Value) -> Value:
    """Scores (outputs, labels) of pooled states (outputs, width)."""
    return blocks.tanh_classifier(g, Hyperparameters.read(c, w), w, x)


def word_logits(g: Layers, c: Config, w: Weights, vocab: int, x: Value) -> Value:
    """Logits (outputs, vocab) of the states of masked tokens (outputs, width)."""
    e = narrow(c, w)
    x = g.gelu(g.linear(x, *w.linear("mlm_dense", e.width, x.width)))
    return blocks.word_outputs(g, e, w, vocab, blocks.norm(g, e, w, "mlm_norm", x))


def keys(s: Settings) -> Keys:
    """Metadata from config.json. Raises BadFileError for settings that GGUF cannot say."""
    layers, groups = s.integer("num_hidden_layers"), s.integer("num_hidden_groups")
    if not groups or layers % groups or s.integer("inner_group_num") != 1:
        raise s.fail("num_hidden_groups must divide num_hidden_layers, and inner_group_num be 1", "")
    return (
        decoder_keys(s)
        | head_keys(s)
        | {
            "block_count": groups,
            "block_repeat_count": layers // groups,
            "token_embedding_length": s.integer("embedding_size"),
            "attention.causal": False,
            "tokenizer.ggml.token_type_count": s.integer("type_vocab_size"),
        }
    )


LAYER = r"^encoder\.albert_layer_groups\.(\d+)\.albert_layers\.0\."
STEPS: dict[str, TensorRule] = {
    r"^albert\.": renames(""),
    r"^sop_classifier\.|\.decoder\.bias$": drops(),
    r"^encoder\.embedding_hidden_mapping_in\.": renames("token_embd_proj."),
    rf"{LAYER}attention\.(query|key|value)\.": renames(r"blk.\1.attention.self.\2."),
    rf"{LAYER}attention\.(dense|LayerNorm)\.": renames(r"blk.\1.attention.output.\2."),
    rf"{LAYER}ffn\.": renames(r"blk.\1.intermediate.dense."),
    rf"{LAYER}ffn_output\.": renames(r"blk.\1.output.dense."),
    rf"{LAYER}full_layer_layer_norm\.": renames(r"blk.\1.output.LayerNorm."),
    r"^blk\.": renames("encoder.layer."),
    **head_steps("pooler", r"predictions\.dense", r"predictions\.LayerNorm", "predictions", r"predictions\.decoder"),
}
CONVERSION = Conversion(
    classes=tuple(f"Albert{end}" for end in ("Model", SORTS, FILLS)),
    defaults={
        "embedding_size": 128,
        "num_hidden_groups": 1,
        "inner_group_num": 1,
        "hidden_act": TANH_GELU[1],
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "max_position_embeddings": 512,
    },
    keys=keys,
    steps=STEPS,
    named_as="bert",
    needs_json=True,
    own_names=("token_embd_proj", "mlm_dense", "mlm_norm"),
    activations=TANH_GELU,
)
