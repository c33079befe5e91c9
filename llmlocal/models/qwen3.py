"""Qwen3 (Yang et al. 2025, arXiv 2505.09388): Qwen2 with norms of each head's queries and keys instead of biases.

Qwen3-Reranker (Zhang et al. 2025, arXiv 2506.05176) answers yes or no to whether a text answers a query. Jina Reranker
3 (Wang et al. 2025, arXiv 2509.25085) reads all texts at once; in 3.5 some blocks have a sliding window.
"""

from __future__ import annotations

import numpy as np

from ..gguf.values import ValueType
from ..hf.config import Keys, Settings
from ..hf.conversion import MAX_LAYERS, RANK, UNTIED, Conversion, TensorRule, decoder_keys, renames
from ..hf.streams import Stream, take
from ..layers import Layers
from ..layers import encoder as blocks
from ..layers.decoder import attention_output, decoder, gated_mlp, pre_norm_block, qkv_weights
from ..layers.hyperparameters import Hyperparameters, windows
from ..layers.metadata import Config
from ..layers.rope import Rope
from ..layers.rope_scaling import rope_parameters
from ..layers.weights import Weights
from ..runtime.graph import Value


def build(g: Layers, c: Config, w: Weights, vocab: int) -> Value:
    """Record the forward pass; the result is the logits (outputs, vocab). Raises BadFileError for a wrong file."""
    h = Hyperparameters.read(c, w)
    rope = g.rope(rope_parameters(c, w, h, g.cache.n_ctx), interleaved=False)
    all_windows = windows(c, h.blocks, period=0)

    def block(i: int, h: Hyperparameters, b: Weights, x: Value) -> Value:
        def attend(h: Hyperparameters, b: Weights, x: Value) -> Value:
            return attention(g, h, b, x, rope, all_windows[i])

        return pre_norm_block(g, h, b, x, attend, lambda h, b, x: gated_mlp(g, h, b, x, g.swiglu))

    return decoder(g, h, w, vocab, block)


def attention(
    g: Layers, h: Hyperparameters, w: Weights, x: Value, rope: Rope | None, window: int | None = None
) -> Value:
    """Grouped-query attention with norms of queries and keys, which are not rotated without `rope`.

    A token sees the last `window` tokens, all by default.
    """
    q, k, v = g.linears(x, *qkv_weights(h, w))
    q = g.norm(q, w.vector("attn_q_norm.weight", h.head_dim), h.eps)
    k = g.norm(k, w.vector("attn_k_norm.weight", h.head_dim), h.eps)
    if rope is not None:
        g.apply_rope(rope, q, k, head_dim=h.head_dim)
    out = g.attention(q, k, v, head_dim=h.head_dim, scale=h.head_dim**-0.5, window=window)
    return attention_output(g, h, w, out)


def classifier(g: Layers, c: Config, w: Weights, x: Value) -> Value:
    """Scores (outputs, labels) of last states x (outputs, width): logits of the words yes and no."""
    return g.linear(x, *blocks.labels(w, x.width))


def keys(s: Settings) -> Keys:
    """Metadata from config.json, with the prompt of a reranker; as in llama.cpp."""
    out = decoder_keys(s) | some_windows(s)
    if s.items("architectures")[0] == OF_LISTS:
        # The authors' code of 3.5 differs from that of 3 in what it cuts, and the model in its windows.
        longest = (1024, 8192) if "attention.sliding_window" in out else (512, 2048)
        lengths = dict(zip(("rerank.query_length", "rerank.document_length"), longest, strict=True))
        return out | lengths | {"pooling_type": (ValueType.U32, RANK)}
    if not is_reranker(s):
        return out
    return out | {
        "pooling_type": (ValueType.U32, RANK),
        "classifier.output_labels": (ValueType.STRING, ["yes", "no"]),
        "tokenizer.chat_templates": (ValueType.STRING, ["rerank"]),
        "tokenizer.chat_template.rerank": PROMPT,
    }


def some_windows(s: Settings) -> Keys:
    """The sliding window, and the blocks that have it; with a note, since llama.cpp does not know of it here."""
    if s.values.get("use_sliding_window") is not True:
        return {}
    window, first = s.integer("sliding_window", default=4096), s.integer("max_window_layers", default=28)
    layers = min(s.integer("num_hidden_layers"), MAX_LAYERS)
    slides = [kind == "sliding_attention" for kind in s.items("layer_types")] or [i >= first for i in range(layers)]
    if not any(slides) or window >= s.integer("max_position_embeddings"):
        return {}
    s.note(f"attention has a sliding window of {window} tokens, which llama.cpp ignores for this architecture")
    return {"attention.sliding_window": window, "attention.sliding_window_pattern": slides}


def is_reranker(s: Settings) -> bool:
    """Whether a folder is that of a reranker, which its own name or its README.md says alone."""
    named = f"{s.folder.path.resolve().name} {s.find('_name_or_path')}".lower()
    return "qwen3-reranker" in named or "# qwen3-reranker" in s.folder.card().lower()


def yes_and_no(name: str, *, tied: bool) -> TensorRule:
    """Of a reranker's output matrix `name` its rows of the words yes and no; it is kept where it is `tied`."""

    def step(s: Settings, x: Stream) -> dict[str, Stream]:
        if not is_reranker(s) or s.flag("tie_word_embeddings") is not tied:
            return {name: x}
        vocab = (s.folder.json("tokenizer.json").get("model") or {}).get("vocab") or {}
        ids = [vocab.get(word) for word in ("yes", "no")]
        if not all(isinstance(id, int) and 0 <= id < x.rows for id in ids):
            raise s.fail("tokenizer.json has no tokens yes and no")
        return {"cls.output.weight": take(x, np.array(ids))} | ({name: x} if tied else {})

    return step


PROMPT = """<|im_start|>system
Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer \
can only be "yes" or "no".<|im_end|>
<|im_start|>user
<Instruct>: Given a web search query, retrieve relevant passages that answer the query
<Query>: {query}
<Document>: {document}<|im_end|>
<|im_start|>assistant
<think>

</think>

"""
RANK_POOLING = "last"
OF_LISTS = "JinaForRanking"
EMBEDDING = "model.embed_tokens.weight"
CONVERSION = Conversion(
    classes=("Qwen3ForCausalLM", "Qwen3Model", OF_LISTS, "JinaEmbeddingsV5Model"),
    defaults=UNTIED | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "head_dim": 128},
    keys=keys,
    steps={
        r"^(model\.)?embed_tokens\.weight$": yes_and_no(EMBEDDING, tied=True),
        r"^lm_head\.weight$": yes_and_no("lm_head.weight", tied=False),
        r"^projector\.0\.": renames("dense_2."),
        r"^projector\.2\.": renames("dense_3."),
    },
    own_names=("cls.output", "dense_2", "dense_3"),
)
