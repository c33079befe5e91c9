"""Read a guide's GGUF back into a folder that training can go on from: the way back of export.py.

    python tools/guide/unpack.py llmlocal/guide/guide.gguf OUT

writes OUT/tokenizer.json and OUT/weights.npz; quantized matrices keep their rounding. Does not train.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize

WORDS = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}  # GPT-2's
SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def vocabulary(reader: gguf.GGUFReader) -> dict[str, Any]:
    """What tokenizer.json holds for a byte-level BPE, with the ids of the file."""
    key = "tokenizer.ggml."
    tokens, merges, kinds = (reader.fields[key + name].contents() for name in ("tokens", "merges", "token_type"))
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": id, "content": tokens[id]} | SPECIAL
            for id, kind in enumerate(kinds)
            if kind == gguf.TokenType.CONTROL
        ],
        "pre_tokenizer": WORDS,
        "decoder": WORDS,
        "model": {"type": "BPE", "vocab": {token: id for id, token in enumerate(tokens)}, "merges": merges},
    }


def unpack(file: Path, out: Path) -> None:
    """Write the vocabulary and the weights (float32, rows first as in PyTorch) of `file` into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(file)
    (out / "tokenizer.json").write_text(json.dumps(vocabulary(reader), ensure_ascii=False))
    arrays = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    np.savez(out / "weights.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    unpack(options.file, options.out)
