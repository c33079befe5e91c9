"""Write a GGUF of a known shape with random weights: for tests and benchmarks, where no download is wanted.

    python tools/make_model.py tiny-llama tiny.gguf
    python tools/make_model.py llama-1b big.gguf --vocab some.gguf --type Q8_0

Shapes of a few published models are in `model_shapes.py`; `model_tensors.py` scales random weights so that activations
stay near 1 and the distribution of the next token is neither flat nor a single spike. Knows nothing of any model's real
weights. Without `--vocab` the vocabulary is made here: bytes, characters and a few English words.
"""

from __future__ import annotations

import argparse
import math
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
from model_shapes import SHAPES, Metadata, Shape, numbers
from model_tensors import Weights, rope_factors, weights
from numpy.typing import NDArray

from llmlocal.gguf.reader import open_gguf
from llmlocal.gguf.values import ValueType
from llmlocal.gguf.writer import GGUFWriter, TensorInfo
from llmlocal.quant.format import BY_NAME, Format
from llmlocal.quant.formats import load_all

CHUNK = 1 << 22  # values drawn at once


def metadata(name: str, s: Shape, vocab: int, form: type[Format]) -> Metadata:
    """Every key but the tokenizer's."""
    return {
        "general.architecture": s.architecture,
        "general.name": f"{name} with random weights",
        "general.file_type": file_type(form),
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
        **{f"{s.architecture}.{key}": value for key, value in numbers(s, vocab).items()},
    }


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
    drawn = [(w, vectors if w.precise else matrices) for w in weights(s, n_tokens(vocabulary))]
    infos = [TensorInfo(w.name, f, w.shape) for w, f in drawn]
    factors = rope_factors(s)
    if factors is not None:
        infos.append(TensorInfo("rope_freqs.weight", vectors, factors.shape))
    with GGUFWriter(path, keys, infos) as writer:
        for w, f in drawn:
            for rows in draw(w, f, seed):
                writer.write(w.name, rows)
        if factors is not None:
            writer.write("rope_freqs.weight", factors)


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
