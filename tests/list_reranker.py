"""A tiny Jina Reranker 3 as a folder, and what the authors' formulas make of its numbers: NumPy in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hf_folders import QWEN3, Case, write_folder
from naive import Floats, Llama, linear

from llmlocal.embedding.list_prompt import DOCUMENT_TOKEN, QUERY_TOKEN
from llmlocal.gguf import GGUFFile

TOKENS = {"<|begin_of_text|>": "<|im_start|>", "<|eot_id|>": "<|im_end|>", "<|end_of_text|>": DOCUMENT_TOKEN}
TOKENS["<mark>"] = QUERY_TOKEN  # a token that texts can have, unlike the others
WINDOW = {"use_sliding_window": True, "sliding_window": 40, "layer_types": ["sliding_attention", "full_attention"]}
CONTEXT = 2048


def write_list_reranker(path: Path, **config: Any) -> Path:
    """The folder; its vocabulary has the special tokens of the prompt."""
    config = QWEN3 | {"tie_word_embeddings": True, "max_position_embeddings": CONTEXT} | config
    write_folder(path, Case("JinaForRanking", config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (path / name).read_text(encoding="utf-8")
        for old, new in TOKENS.items():
            text = text.replace(f'"{old}"', f'"{new}"')
        (path / name).write_text(text, encoding="utf-8")
    return path


class Qwen3(Llama):
    """Norms of each head's queries and keys, halves that are rotated together, windows in some blocks."""

    CACHE = np.float64

    def states(self, ids: Sequence[int]) -> Floats:
        """What the last norm gives for every token (tokens, width)."""
        eye = {"output.weight": np.eye(self.tensors["token_embd.weight"].shape[1])}
        return type(self)(**{**vars(self), "tensors": {**self.tensors, **eye}}).logits(ids)

    def _attention(self, w: Mapping[str, Floats], x: Floats, cache: type) -> Floats:
        x = self._norm(x, w["attn_norm.weight"])
        q, k, v = (linear(w, n, x).reshape(len(x), -1, self.head_dim) for n in ("attn_q", "attn_k", "attn_v"))
        q, k = (self._turned(self._norm(a, w[f"attn_{n}_norm.weight"])) for a, n in ((q, "q"), (k, "k")))
        out, places = np.zeros_like(q), np.arange(len(x))
        behind = places[:, None] - places
        seen = (behind >= 0) & (behind < w["window"])
        for head in range(self.heads):
            shared = head * self.kv_heads // self.heads
            scores = np.where(seen, q[:, head] @ k[:, shared].T / math.sqrt(self.head_dim), -np.inf)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            out[:, head] = weights / weights.sum(axis=1, keepdims=True) @ v[:, shared]
        return linear(w, "attn_output", out.reshape(len(x), -1))

    def _turned(self, x: Floats) -> Floats:
        half = self.head_dim // 2
        angles = (np.arange(len(x))[:, None] * self.frequencies)[:, None]
        first, second = x[..., :half], x[..., half:]
        turned = first * np.cos(angles) - second * np.sin(angles), second * np.cos(angles) + first * np.sin(angles)
        return np.concatenate(turned, axis=-1)


def naive_model(gguf: GGUFFile) -> Qwen3:
    """The model of a converted folder; each block also has its window."""
    m = {key.removeprefix("qwen3."): value for key, value in gguf.metadata.items()}
    tensors: dict[str, Any] = {name: t.dequantize().astype(np.float64) for name, t in gguf.tensors.items()}
    blocks, half = m["block_count"], m["attention.key_length"] // 2
    slides = list(m.get("attention.sliding_window_pattern", [False] * blocks))
    window = m.get("attention.sliding_window", 0)
    tensors |= {f"blk.{i}.window": np.array(window if slides[i] else np.inf) for i in range(blocks)}
    return Qwen3(
        tensors,
        blocks,
        m["attention.head_count"],
        m["attention.head_count_kv"],
        2 * half,
        m["attention.layer_norm_rms_epsilon"],
        m["rope.freq_base"] ** (-np.arange(half) / half),
        1.0,
    )


def projected(model: Qwen3, ids: Sequence[int], rows: Sequence[int]) -> Floats:
    """Vectors (rows, 24) of the states at these places."""
    hidden = np.maximum(model.states(ids)[list(rows)] @ model.tensors["dense_2.weight"].T, 0)
    out: Floats = hidden @ model.tensors["dense_3.weight"].T
    return out


def published_prompt(query: str, documents: Sequence[str]) -> str:
    """The text of a prompt, as the authors' code has it."""
    system = (
        "You are a search relevance expert who can determine a ranking of the passages based on how relevant they are "
        "to the query. If the query is a question, how relevant a passage is depends on how well it answers the "
        "question. If not, try to analyze the intent of the query and assess how well each passage satisfies the "
        "intent. If an instruction is provided, you should follow the instruction when determining the ranking."
    )
    passages = "".join(f'<passage id="{i}">\n{d}<|embed_token|>\n</passage>\n' for i, d in enumerate(documents))
    asked = (
        f"I will provide you with {len(documents)} passages, each indicated by a numerical identifier. Rank the "
        f"passages based on their relevance to query: {query}\n"
    )
    return (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{asked}{passages}"
        f"<query>\n{query}<|rerank_token|>\n</query><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
