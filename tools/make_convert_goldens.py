"""Write tests/golden/convert.json.xz: what llama.cpp's converter and transformers make of the small folders of tests.

    python tools/make_convert_goldens.py --llama-cpp CHECKOUT [--case NAME] [--keep FOLDER]

Needs torch, transformers, sentencepiece, and a checkout of llama.cpp with convert_hf_to_gguf.py. For each case of
tests/hf_folders.py it keeps every key with its type, every tensor's shape, type and digest, and the logits of the last
tokens of a short prompt. The converter knows pre-tokenizers by a digest of what a real vocabulary makes of a text; for
these made-up vocabularies it is told the name.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import sys
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "tests" / "golden" / "convert.json.xz"
IDS = [1, 17, 200, 33, 290, 4, 99, 250]
LAST = 3  # tokens whose logits are kept
LARGE = 1000  # no logits of vocabularies from here on
LONG = 32  # longer arrays are kept as a digest

sys.path.insert(0, str(HERE.parent / "tests"))


def converted(checkout: Path, folder: Path, out: Path, type_name: str) -> None:
    """Run the converter of a checkout in this process."""
    sys.path[:0] = [str(checkout), str(checkout / "gguf-py")]
    import convert_hf_to_gguf
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda *_: "llama-bpe"
    before, sys.argv = sys.argv, ["convert", str(folder), "--outfile", str(out), "--outtype", type_name]
    try:
        convert_hf_to_gguf.main()
    finally:
        sys.argv = before


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


def content(path: Path) -> dict[str, Any]:
    """Keys and tensors of a GGUF, long ones as digests."""
    import gguf

    reader = gguf.GGUFReader(path)
    keys: dict[str, Any] = {}
    for name, field in reader.fields.items():
        if not name.startswith("GGUF."):
            value = field.contents()
            long = isinstance(value, list) and len(value) > LONG
            keys[name] = [
                "/".join(kind.name for kind in field.types),
                digest(json.dumps(value).encode()) if long else value,
            ]
    tensors = {
        t.name: [[int(n) for n in t.shape[::-1]], t.tensor_type.name, digest(t.data.tobytes())] for t in reader.tensors
    }
    return {"keys": keys, "tensors": tensors}


def logits(folder: Path) -> str:
    """Float32 logits of the last tokens, as base64."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        out = model(torch.tensor([IDS])).logits[0, -LAST:]
    return b64encode(out.contiguous().numpy().astype("<f4").tobytes()).decode()


def main() -> None:
    from hf_folders import CASES, write_folder

    parser = argparse.ArgumentParser(description="Write goldens of the conversion.")
    parser.add_argument("--llama-cpp", type=Path, required=True)
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="only these; others stay as they are")
    parser.add_argument("--keep", type=Path, help="keep the folders and files there")
    args = parser.parse_args()
    held = json.loads(lzma.decompress(GOLDEN.read_bytes())) if GOLDEN.exists() and args.case else {}
    with tempfile.TemporaryDirectory() as temporary:
        root = args.keep or Path(temporary)
        for name in args.case or CASES:
            folder = write_folder(root / name, CASES[name])
            held[name] = {"logits": logits(folder)} if CASES[name].config.get("vocab_size", 0) < LARGE else {}
            for type_name in ("auto", "q8_0"):
                converted(args.llama_cpp, folder, root / f"{name}.{type_name}.gguf", type_name)
                held[name][type_name] = content(root / f"{name}.{type_name}.gguf")
    GOLDEN.write_bytes(lzma.compress(json.dumps(held, sort_keys=True).encode()))
    print(f"{GOLDEN.name}: {len(held)} cases, {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
