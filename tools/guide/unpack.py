"""Read a guide's GGUF back into a folder that training can go on from: the way back of export.py.

    python tools/guide/unpack.py llmlocal/guide/guide.gguf OUT

writes OUT/tokenizer.json and OUT/weights.npz; quantized matrices keep their rounding. Does not train.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize
from tokenizers import Tokenizer, decoders, models, pre_tokenizers


def weights(reader: gguf.GGUFReader) -> dict[str, Any]:
    """Every tensor by name, float32, rows first as in PyTorch."""
    return {t.name: dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}


def tokenizer(reader: gguf.GGUFReader) -> Tokenizer:
    """The byte-level vocabulary with the ids that it has in the file."""
    key = "tokenizer.ggml."
    tokens, merges, kinds = (reader.fields[key + name].contents() for name in ("tokens", "merges", "token_type"))
    pairs = [tuple(merge.split(" ")) for merge in merges]
    made = Tokenizer(models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=pairs))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([t for t, kind in zip(tokens, kinds, strict=True) if kind == gguf.TokenType.CONTROL])
    return made


def unpack(file: Path, out: Path) -> None:
    """Write the vocabulary and the weights of `file` into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(file)
    tokenizer(reader).save(str(out / "tokenizer.json"))
    np.savez(out / "weights.npz", **weights(reader))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    unpack(options.file, options.out)
