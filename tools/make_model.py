"""Write a GGUF of a known shape with random weights: for tests and benchmarks, where no download is wanted.

    python tools/make_model.py tiny-llama tiny.gguf
    python tools/make_model.py llama-1b big.gguf --vocab some.gguf --type Q8_0

Knows the shapes of a few published models, and how to scale random weights so that activations stay near 1 and the
distribution of the next token is neither flat nor a single spike. Knows nothing of any model's real weights. Without
`--vocab` the vocabulary is made here: bytes, characters and a few English words.
"""

from __future__ import annotations

import argparse
import math
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from llmlocal.gguf.reader import open_gguf
from llmlocal.gguf.values import ValueType
from llmlocal.gguf.writer import GGUFWriter, TensorInfo
from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.formats import load_all

Metadata = dict[str, Any]  # key -> value, or (type, value), as `GGUFWriter` takes them
Draw = Callable[..., "Weights"]  # a matrix or a norm by its name, sizes and gain
CHUNK = 1 << 22  # values drawn at once


@dataclass(frozen=True, slots=True)
class Shape:
    """What the metadata of a model says, in GGUF's words. Embeddings are tied: the output matrix is `token_embd`."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    ffn: int
    theta: float
    context: int
    eps: float = 1e-5
    architecture: str = "llama"
    head_norm: bool = False  # q and k are normed per head
    llama31_rope: bool = False
    post_norm: bool = False  # norms after attention and feed-forward, too
    window: int = 0
    experts: int = 0  # each of `ffn` inner values
    used: int = 0
    rotary: int = 0  # rotated values of a head; 0: all
    attends: tuple[int, ...] | None = None  # the blocks with attention; None: all
    delta: tuple[int, int] = (0, 0)  # heads of a gated delta net, for keys and values, and the size of each

    def mixes(self, i: int) -> bool:
        """Whether block `i` has a recurrent layer in place of attention."""
        return self.attends is not None and i not in self.attends


PRECISE = ("_inp", "conv1d", "shortconv.conv")  # matrices that stay F32
SHAPES = {
    "llama-1b": Shape(2048, 16, 32, 8, 64, 8192, 500_000.0, 131_072, llama31_rope=True),
    "qwen3-0.6b": Shape(1024, 28, 16, 8, 128, 3072, 1e6, 40_960, 1e-6, architecture="qwen3", head_norm=True),
    "gemma3-1b": Shape(
        1152, 26, 4, 1, 256, 6912, 1e6, 32_768, 1e-6, architecture="gemma3", head_norm=True, post_norm=True, window=512
    ),
    "gemma3-270m": Shape(
        640, 18, 4, 1, 256, 2048, 1e6, 32_768, 1e-6, architecture="gemma3", head_norm=True, post_norm=True, window=512
    ),
    "qwen3moe-16": Shape(  # Qwen3-30B-A3B with fewer experts and layers
        2048, 16, 32, 4, 128, 768, 1e6, 40_960, 1e-6, architecture="qwen3moe", head_norm=True, experts=16, used=4
    ),
    "qwen35-0.8b": Shape(
        1024,
        24,
        8,
        2,
        256,
        3584,
        1e7,
        262_144,
        1e-6,
        architecture="qwen35",
        head_norm=True,
        rotary=64,
        attends=tuple(range(3, 24, 4)),
        delta=(16, 128),
    ),
    "lfm2-1.2b": Shape(
        2048, 16, 32, 8, 64, 8192, 1e6, 128_000, architecture="lfm2", head_norm=True, attends=(2, 5, 8, 10, 12, 14)
    ),
    "smollm2-135m": Shape(576, 30, 9, 3, 64, 1536, 100_000.0, 8192),
    "tiny-llama": Shape(64, 2, 4, 2, 16, 192, 10_000.0, 2048),
    "tiny-llama-256": Shape(256, 2, 8, 2, 32, 768, 10_000.0, 2048),  # as small as K formats allow
    "tiny-gemma3-256": Shape(
        256, 7, 4, 1, 64, 768, 1e6, 2048, 1e-6, architecture="gemma3", head_norm=True, post_norm=True, window=16
    ),
    "tiny-qwen3moe-256": Shape(
        256, 2, 4, 2, 64, 256, 1e6, 2048, 1e-6, architecture="qwen3moe", head_norm=True, experts=8, used=2
    ),
    "tiny-qwen3-256": Shape(256, 2, 4, 2, 64, 768, 1e6, 2048, 1e-6, architecture="qwen3", head_norm=True),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """One tensor to draw: `shape` as in NumPy, normal values around `mean`."""

    name: str
    shape: tuple[int, ...]
    mean: float
    std: float


def weights(s: Shape, vocab: int) -> Iterator[Weights]:
    """All drawn tensors in file order.

    A matrix has std 1 / sqrt(fan in), and what is added to the residual stream a further 1 / sqrt(2 layers). The last
    norm is larger, so that logits have a spread of 2.5. Queries and keys are not: sharp attention of random heads
    makes a chaotic model, in which two correct engines soon disagree (1.5 times the queries and keys: NMSE tenfold).
    """

    def matrix(name: str, rows: int, k: int, gain: float = 1.0) -> Weights:
        return Weights(f"{name}.weight", (rows, k), 0.0, gain / math.sqrt(k))

    def stack(name: str, rows: int, k: int, gain: float = 1.0) -> Weights:
        return Weights(f"{name}.weight", (s.experts, rows, k), 0.0, gain / math.sqrt(k))

    def norm(name: str, n: int, mean: float = 1.0) -> Weights:
        return Weights(f"{name}.weight", (n,), mean, 0.1)

    added = 1 / math.sqrt(2 * s.layers)
    yield matrix("token_embd", vocab, s.width)
    for i in range(s.layers):
        blk = f"blk.{i}."
        yield norm(blk + "attn_norm", s.width)
        if s.mixes(i):
            yield from recurrent_layer(s, blk, matrix, norm, added)
        else:
            yield from attention_layer(s, blk, matrix, norm, added)
        if s.post_norm:
            yield norm(blk + "post_attention_norm", s.width, added)
            yield norm(blk + "post_ffw_norm", s.width, added)
        yield norm(blk + ("post_attention_norm" if s.architecture == "qwen35" else "ffn_norm"), s.width)
        if s.experts:
            yield matrix(blk + "ffn_gate_inp", s.experts, s.width)
            yield stack(blk + "ffn_gate_exps", s.ffn, s.width)
            yield stack(blk + "ffn_up_exps", s.ffn, s.width)
            yield stack(blk + "ffn_down_exps", s.width, s.ffn, added)
        else:
            yield matrix(blk + "ffn_gate", s.ffn, s.width)
            yield matrix(blk + "ffn_up", s.ffn, s.width)
            yield matrix(blk + "ffn_down", s.width, s.ffn, added)
    yield norm("token_embd_norm" if s.architecture == "lfm2" else "output_norm", s.width, 2.5)


def attention_layer(s: Shape, blk: str, matrix: Draw, norm: Draw, added: float) -> Iterator[Weights]:
    """Tensors of an attention; Qwen3.5's queries have gates beside them."""
    yield matrix(blk + "attn_q", s.heads * s.head * (2 if s.architecture == "qwen35" else 1), s.width)
    yield matrix(blk + "attn_k", s.kv_heads * s.head, s.width)
    yield matrix(blk + "attn_v", s.kv_heads * s.head, s.width)
    if s.head_norm:
        yield norm(blk + "attn_q_norm", s.head)
        yield norm(blk + "attn_k_norm", s.head)
    yield matrix(blk + "attn_output", s.width, s.heads * s.head, added)


def recurrent_layer(s: Shape, blk: str, matrix: Draw, norm: Draw, added: float) -> Iterator[Weights]:
    """Tensors of a gated delta net (Qwen3.5), or of a gated short convolution (LFM2)."""
    heads, size = s.delta
    if not heads:
        yield matrix(blk + "shortconv.in_proj", 3 * s.width, s.width)
        yield matrix(blk + "shortconv.conv", s.width, 3)
        yield matrix(blk + "shortconv.out_proj", s.width, s.width, added)
        return
    yield matrix(blk + "attn_qkv", 3 * heads * size, s.width)
    yield matrix(blk + "attn_gate", heads * size, s.width)
    yield matrix(blk + "ssm_conv1d", 3 * heads * size, 4)
    yield Weights(blk + "ssm_dt.bias", (heads,), 0.0, 0.3)
    yield Weights(blk + "ssm_a", (heads,), -1.0, 0.2)
    yield matrix(blk + "ssm_alpha", heads, s.width)
    yield matrix(blk + "ssm_beta", heads, s.width)
    yield norm(blk + "ssm_norm", size)
    yield matrix(blk + "ssm_out", s.width, heads * size, added)


def llama31_factors(s: Shape) -> NDArray[np.float32]:
    """Divisors of the rope frequencies, (head / 2,): 1 for short waves, 32 for long ones, smooth between."""
    factor, low, high, original = 32.0, 1.0, 4.0, 8192.0
    turns = original * s.theta ** (-np.arange(0, s.head, 2) / s.head) / (2 * math.pi)  # within the original context
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def metadata(name: str, s: Shape, vocab: int, form: type[Format]) -> Metadata:
    """Every key but the tokenizer's."""
    numbers = {
        "context_length": s.context,
        "embedding_length": s.width,
        "block_count": s.layers,
        "feed_forward_length": s.ffn,
        "attention.head_count": s.heads,
        "attention.head_count_kv": s.kv_heads,
        "attention.key_length": s.head,
        "attention.value_length": s.head,
        "attention.layer_norm_rms_epsilon": s.eps,
        "rope.dimension_count": s.rotary or s.head,
        "rope.freq_base": s.theta,
        "vocab_size": vocab,
    }
    if s.window:
        numbers["attention.sliding_window"] = s.window
    if s.experts:
        numbers |= {"expert_count": s.experts, "expert_used_count": s.used, "expert_feed_forward_length": s.ffn}
    if s.attends is not None:
        numbers |= recurrent_numbers(s)
    return {
        "general.architecture": s.architecture,
        "general.name": f"{name} with random weights",
        "general.file_type": file_type(form),
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
        **{f"{s.architecture}.{key}": value for key, value in numbers.items()},
    }


def recurrent_numbers(s: Shape) -> dict[str, Any]:
    """Keys of recurrent layers."""
    heads, size = s.delta
    if not heads:
        kv_heads = [0 if s.mixes(i) else s.kv_heads for i in range(s.layers)]
        return {"attention.head_count_kv": (ValueType.I32, kv_heads), "shortconv.l_cache": 3}
    sizes = {"ssm.conv_kernel": 4, "ssm.state_size": size, "ssm.group_count": heads, "ssm.time_step_rank": heads}
    sections = (ValueType.I32, [s.rotary // 4, s.rotary // 8, s.rotary // 8, 0])
    return sizes | {"ssm.inner_size": heads * size, "full_attention_interval": 4, "rope.dimension_sections": sections}


def file_type(form: type[Format]) -> int:
    """GGUF's number for a file whose matrices are of this format."""
    names = (f"ALL_{form.name}", f"MOSTLY_{form.name}", f"MOSTLY_{form.name}_S", f"MOSTLY_{form.name}_MOE")
    return next(int(gguf.LlamaFileType[n]) for n in names if n in gguf.LlamaFileType.__members__)


def copied_vocabulary(path: Path) -> Metadata:
    """Every `tokenizer.*` key of a GGUF, in its order and of its exact type."""
    return {key: value for key, value in open_gguf(path).metadata.raw().items() if key.startswith("tokenizer.")}


def enlarged(vocabulary: Metadata, size: int) -> Metadata:
    """A copied vocabulary with as many more tokens, each made of two others, as it takes to have `size`."""
    tokens = [str(token) for token in vocabulary["tokenizer.ggml.tokens"][1]]
    kept, made = set(tokens), dict[str, None]()
    halves = [token for token in tokens[1000:] if 2 < len(token) < 8]
    rng = random.Random(0)
    while len(tokens) + len(made) < size:
        token = rng.choice(halves) + rng.choice(halves)
        made |= {} if token in kept else {token: None}
    more: Metadata = {"tokenizer.ggml.tokens": [*tokens, *made]}
    for key, kind, value in (("token_type", ValueType.I32, int(gguf.TokenType.NORMAL)), ("scores", ValueType.F32, 0.0)):
        if (name := f"tokenizer.ggml.{key}") in vocabulary:
            more[name] = kind, [*vocabulary[name][1], *[value] * len(made)]
    return vocabulary | more


def own_vocabulary() -> Metadata:
    """A SentencePiece vocabulary: three control tokens, 256 bytes, ASCII characters, and words with all beginnings."""
    text = "the of and to in is it you that was for on are with as his they be at one have this from or had by hot but"
    text += " some what there we can out other were all your when up use word how said an each she which do their time"
    text += " if will way about many then them would write like so these her long make thing see him two has look more"
    text += " day could go come did my sound no most number who over know water than call first people may down side"
    text += " hello world Once upon a time once there was little boy girl dog cat house tree"
    spaced = ["▁" + word for word in text.split()]
    beginnings = [word[:n] for word in spaced for n in range(2, len(word) + 1)]
    characters = ["▁", *map(chr, range(33, 127))]
    pieces = list(dict.fromkeys(characters + beginnings))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *pieces]
    scores = [0.0] * 259 + [float(-i) for i in range(len(pieces))]
    token = gguf.TokenType
    types = [token.UNKNOWN, token.CONTROL, token.CONTROL] + [token.BYTE] * 256 + [token.NORMAL] * len(pieces)
    turn = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": (ValueType.I32, [int(t) for t in types]),
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": turn + "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
    }


def draw(w: Weights, form: type[Format], seed: int) -> Iterator[NDArray[np.uint8]]:
    """The tensor's rows of blocks, some at a time; they depend on its name and the seed alone."""
    rng = np.random.Generator(np.random.SFC64([seed, zlib.crc32(w.name.encode())]))
    rows, k = math.prod(w.shape[:-1]), w.shape[-1]
    step = max(1, CHUNK // k)
    for i in range(0, rows, step):
        values = rng.standard_normal((min(step, rows - i), k), np.float32)
        values *= np.float32(w.std)
        values += np.float32(w.mean)
        yield form.quantize(values)


def make_model(name: str, path: Path, vocabulary: Metadata | None = None, form: str = "F16", seed: int = 0) -> None:
    """Write the model `name` of `SHAPES` to `path`, its matrices in the format called `form`, vectors in F32.

    The embedding has as many rows as the vocabulary has tokens. Raises ValueError where a row is not a multiple of the
    format's block, and what `GGUFWriter` raises.
    """
    load_all()
    s, matrices, vectors = SHAPES[name], BY_NAME[form], BY_NAME["F32"]
    vocabulary = vocabulary or own_vocabulary()
    keys = metadata(name, s, n_tokens(vocabulary), matrices) | vocabulary
    drawn = [
        (w, vectors if len(w.shape) == 1 or any(kind in w.name for kind in PRECISE) else matrices)
        for w in weights(s, n_tokens(vocabulary))
    ]
    infos = [TensorInfo(w.name, f, w.shape) for w, f in drawn]
    if s.llama31_rope:
        infos.append(TensorInfo("rope_freqs.weight", vectors, (s.head // 2,)))
    with GGUFWriter(path, keys, infos) as writer:
        for w, f in drawn:
            for rows in draw(w, f, seed):
                writer.write(w.name, rows)
        if s.llama31_rope:
            writer.write("rope_freqs.weight", llama31_factors(s))


def n_tokens(vocabulary: Metadata) -> int:
    """How many tokens a vocabulary has, whether its values are typed, (type, value), or plain."""
    tokens = vocabulary["tokenizer.ggml.tokens"]
    return len(tokens[1] if isinstance(tokens, tuple) else tokens)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a GGUF of a known shape with random weights.")
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("out", type=Path)
    parser.add_argument("--vocab", type=Path, help="GGUF whose vocabulary is copied; without it one is made")
    parser.add_argument("--tokens", type=int, default=0, help="make that vocabulary larger, with tokens made of two")
    parser.add_argument("--type", default="F16", help="format of the matrices")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    vocabulary = copied_vocabulary(args.vocab) if args.vocab else None
    if args.tokens and vocabulary is None:
        parser.error("--tokens needs --vocab")
    if args.tokens and vocabulary is not None:
        vocabulary = enlarged(vocabulary, args.tokens)
    make_model(args.shape, args.out, vocabulary, args.type, args.seed)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
