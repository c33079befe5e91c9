"""Small Hugging Face folders with random weights: every file as transformers would write it, made from nothing.

The same case is the same bytes on every machine, so that goldens can be kept of what others make of it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNS = [chr(b) if b in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)) else None for b in range(256)]
SPARE = iter(range(0x100, 0x200))
SIGNS = [sign or chr(next(SPARE)) for sign in SIGNS]
TEXT = "the of and to in is it you that he was for on are with as his they be at one have this from"
WORDS = TEXT.split()
OF = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = rf"{OF}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHAT = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
TYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "I32": np.dtype("<i4")}


@dataclass(frozen=True)
class Case:
    """A folder to write: its class, what config.json says, how the weights are stored, and which vocabulary."""

    cls: str
    config: dict[str, Any]
    dtype: str = "F32"
    shards: int = 1
    vocabulary: str = "bpe"
    files: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    card: str = ""


BASE: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "tie_word_embeddings": True}
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
QWEN3 = BASE | {"model_type": "qwen3", "head_dim": 32, "rms_norm_eps": 1e-6}
RERANKER = "---\nlicense: apache-2.0\n---\n# Qwen3-Reranker-Tiny\n"
CASES = {
    "llama-tied-bf16": Case("LlamaForCausalLM", BASE | {"tie_word_embeddings": True}, "BF16", vocabulary="spm"),
    "llama-llama3-f16-shards": Case(
        "LlamaForCausalLM",
        BASE | {"rope_theta": 500000, "rope_scaling": LLAMA3_ROPE | {"original_max_position_embeddings": 64}},
        "F16",
        shards=3,
    ),
    "llama-yarn-biased": Case(
        "LlamaForCausalLM",
        BASE
        | {"attention_bias": True, "num_key_value_heads": 4, "rms_norm_eps": 1e-6}
        | {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}},
    ),
    "llama-linear": Case("LlamaForCausalLM", BASE | {"rope_scaling": {"type": "linear", "factor": 2.0}}, "BF16"),
    "mistral": Case(
        "MistralForCausalLM",
        BASE | {"model_type": "mistral", "head_dim": 32, "sliding_window": None},
        "BF16",
        vocabulary="spm",
        files={"generation_config.json": {"temperature": 0.7, "top_p": 0.9, "top_k": 40}},
    ),
    "code-llama": Case("LlamaForCausalLM", BASE | {"vocab_size": 32016} | TINY, "F16", vocabulary="spm"),
    "star-vocabulary": Case("LlamaForCausalLM", BASE | {"vocab_size": 49152} | TINY, "F16", vocabulary="spm"),
    "mixtral": Case(
        "MixtralForCausalLM",
        BASE | {"model_type": "mixtral", "num_local_experts": 3, "num_experts_per_tok": 2, "sliding_window": None},
        "BF16",
        vocabulary="spm",
    ),
    "qwen3-reranker-tied": Case(
        "Qwen3ForCausalLM", QWEN3 | {"tie_word_embeddings": True}, "BF16", words=("yes", "no", *WORDS), card=RERANKER
    ),
    "qwen3-reranker": Case("Qwen3ForCausalLM", QWEN3, "BF16", words=("yes", "no", *WORDS), card=RERANKER),
}


def write_folder(path: Path, case: Case) -> Path:
    """Write the files of `case` into a new folder `path`."""
    path.mkdir(parents=True)
    words = case.words or WORDS
    tokens = write_bpe(path, words=words) if case.vocabulary == "bpe" else write_spm(path)
    config = {"architectures": [case.cls], "vocab_size": tokens + 3} | case.config
    write_json(path / "config.json", config)
    if case.card:
        (path / "README.md").write_text(case.card)
    for name, content in case.files.items():
        write_json(path / name, content)
    write_weights(path, weights(config), case.dtype, case.shards)
    return path


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def weights(c: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Random tensors under transformers' names."""
    width, ffn, vocab = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    head = c.get("head_dim") or width // c["num_attention_heads"]
    q, kv = head * c["num_attention_heads"], head * c["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, width), "model.norm.weight": (width,)}
    for i in range(c["num_hidden_layers"]):
        block = f"model.layers.{i}."
        attention = {"q_proj": (q, width), "k_proj": (kv, width), "v_proj": (kv, width), "o_proj": (width, q)}
        mlp = {"gate_proj": (ffn, width), "up_proj": (ffn, width), "down_proj": (width, ffn)}
        for name, shape in attention.items():
            shapes[f"{block}self_attn.{name}.weight"] = shape
            if c.get("attention_bias"):
                shapes[f"{block}self_attn.{name}.bias"] = shape[:1]
        if experts := c.get("num_local_experts"):
            shapes[f"{block}block_sparse_moe.gate.weight"] = (experts, width)
            for e in range(experts):
                for name, part in zip(("w1", "w3", "w2"), mlp.values(), strict=True):
                    shapes[f"{block}block_sparse_moe.experts.{e}.{name}.weight"] = part
        else:
            shapes |= {f"{block}mlp.{name}.weight": shape for name, shape in mlp.items()}
        shapes |= {f"{block}{n}_layernorm.weight": (width,) for n in ("input", "post_attention")}
        if c["model_type"] == "qwen3":
            shapes |= {f"{block}self_attn.{n}_norm.weight": (head,) for n in "qk"}
    if c["architectures"] == ["JinaForRanking"]:
        shapes |= {"projector.0.weight": (width // 2, width), "projector.2.weight": (24, width // 2)}
    elif not c["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, width)
    return {name: drawn(name, shape) for name, shape in shapes.items()}


def drawn(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Values that depend on the name alone: norms around 1, matrices such that products stay near 1."""
    values = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape, np.float32)
    return values * np.float32(0.1) + 1 if "norm" in name else values / np.float32(np.sqrt(shape[-1]))


def write_weights(path: Path, tensors: dict[str, NDArray[np.float32]], dtype: str, shards: int) -> None:
    """model.safetensors, or that many parts with an index."""
    stored = {name: (dtype, as_type(x, dtype)) for name, x in tensors.items()}
    if shards == 1:
        (path / "model.safetensors").write_bytes(safetensors_bytes(stored))
        return
    index = {}
    for i in range(shards):
        name = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(stored.items())[i::shards])
        (path / name).write_bytes(safetensors_bytes(part))
        index |= dict.fromkeys(part, name)
    write_json(path / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def as_type(x: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """`x` as it is stored in a type of safetensors."""
    if dtype == "BF16":
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return x.astype(TYPES[dtype])


def safetensors_bytes(tensors: dict[str, tuple[str, NDArray[Any]]]) -> bytes:
    """A safetensors file of (type, values) by name."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name, (dtype, x) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [len(data), len(data) + x.nbytes]}
        data += x.tobytes()
    packed = json.dumps(header).encode()
    packed += b" " * (-len(packed) % 8)
    return pack("<Q", len(packed)) + packed + data


# ---- vocabularies -------------------------------------------------------------------------------------------------


def write_bpe(path: Path, pattern: str = LLAMA3, words: Sequence[str] = WORDS) -> int:
    """A byte-level tokenizer.json with its companions; returns the number of tokens."""
    merges: dict[tuple[str, str], str] = {}
    for word in words:
        for text in (word, "Ġ" + word):
            for end in range(2, len(text) + 1):
                merges.setdefault((text[: end - 1], text[end - 1]), text[:end])
    vocab = {token: i for i, token in enumerate(dict.fromkeys([*sorted(SIGNS), *merges.values()]))}
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    added = [added_token(len(vocab) + i, text) for i, text in enumerate(special)]
    added.append(added_token(len(vocab) + 3, "<mark>", special=False))
    bos = {"SpecialToken": {"id": special[0], "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, bos, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {special[0]: {"id": special[0], "ids": [len(vocab)], "tokens": [special[0]]}},
    }
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": True,
        "vocab": vocab,
        "merges": [list(pair) for pair in merges],
    }
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_only]},
        "post_processor": {"type": "Sequence", "processors": [bytes_only | {"trim_offsets": False}, template]},
        "decoder": bytes_only | {"use_regex": True},
        "model": model,
    }
    write_json(path / "tokenizer.json", tokenizer)
    named = {"bos_token": special[0], "eos_token": special[2], "tokenizer_class": "PreTrainedTokenizerFast"}
    write_json(path / "tokenizer_config.json", named)
    (path / "chat_template.jinja").write_text(CHAT)
    return len(vocab) + len(added)


def added_token(id: int, text: str, *, special: bool = True) -> dict[str, Any]:
    rest = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": text} | rest | {"special": special}


def write_spm(path: Path, *, dummy_prefix: bool = True, kind: int = 2, few: bool = False) -> int:
    """A tokenizer.model with a tokenizer_config.json; returns the number of tokens. `few`: some of each kind only."""
    words, n_bytes, chars = (WORDS[:2], 4, range(97, 105)) if few else (WORDS, 256, range(33, 127))
    pieces = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), *((f"<0x{b:02X}>", 0.0, 6) for b in range(n_bytes))]
    beginnings = dict.fromkeys(("▁" + word)[:end] for word in words for end in range(2, len(word) + 2))
    inner = dict.fromkeys(word[i : i + 2] for word in words for i in range(len(word) - 1))
    pieces += [(text, -float(i), 1) for i, text in enumerate((beginnings | inner).keys())]
    pieces += [(char, -float(1000 + i), 1) for i, char in enumerate(["▁", *map(chr, chars)])]
    pieces.append(("<mine>", 0.0, 4))
    trainer = b"\x18" + varint(kind) + varint(35 << 3) + varint(1) + message(46, b"nobody needs this")  # byte_fallback
    normalizer = message(1, b"identity") + b"\x18" + varint(dummy_prefix) + b"\x20" + varint(0)
    (path / "tokenizer.model").write_bytes(sentencepieces(pieces) + message(2, trainer) + message(3, normalizer))
    decoder = {str(i): {"content": pieces[i][0], "special": True} for i in range(3)}
    decoder[str(len(pieces))] = {"content": "<|im_end|>", "special": False}
    decoder[str(len(pieces) + 1)] = {"content": "▁▁mine", "special": False}
    bos = {"__type": "AddedToken", "content": "<s>"}
    named = {"bos_token": bos, "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    config = named | {"add_eos_token": False, "added_tokens_decoder": decoder, "tokenizer_class": "LlamaTokenizer"}
    write_json(path / "tokenizer_config.json", config | {"chat_template": CHAT})
    return len(pieces) + 2


def sentencepieces(pieces: list[tuple[str, float, int]]) -> bytes:
    """SentencePiece's messages of pieces (text, score, type)."""
    return b"".join(
        message(1, message(1, t.encode()) + b"\x15" + pack("<f", s) + b"\x18" + varint(k)) for t, s, k in pieces
    )


def message(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """A protobuf number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
