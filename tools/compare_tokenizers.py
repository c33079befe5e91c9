"""Compare llmlocal's token ids with llama.cpp's on random texts.

    compare_tokenizers.py --peer PYTHON [-n 10000] [--seed 0] [--pre NAME|all] [--random N] FILE...

PYTHON is an interpreter that has llama-cpp-python. Each text is encoded plain, with BOS and EOS, and with special
tokens parsed. `--pre` compares copies of the files that name another pre-tokenizer, without files of a vocabulary
that shows where words end; `--random` compares N small random vocabularies of each kind. Ends with 1 when anything
differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tokenizer_texts import random_text
from tokenizer_vocabularies import KINDS, probe

from llmlocal.gguf.reader import open_gguf
from llmlocal.gguf.values import ValueType
from llmlocal.gguf.writer import write_gguf
from llmlocal.tokenizer import Tokenizer, load
from llmlocal.tokenizer.pretokenizers import BY_NAME

MODES = ((False, False), (True, False), (True, True))  # add_special, parse_special
SHOWN = 3
PEER = """
import ctypes, json, sys
import llama_cpp as peer
quiet = peer.llama_log_callback(lambda *_: None)  # kept, as C holds no reference
peer.llama_log_set(quiet, ctypes.c_void_p(0))
peer.llama_backend_init()
params = peer.llama_model_default_params()
params.vocab_only = True
model = peer.llama_model_load_from_file(sys.argv[1].encode(), params)
if not model:
    sys.exit("llama.cpp refuses this vocabulary")
vocab = peer.llama_model_get_vocab(model)
for line in sys.stdin:
    text = json.loads(line).encode()
    room = 2 * len(text) + 16
    ids = (ctypes.c_int32 * room)()
    found = []
    for modes in MODES:
        count = peer.llama_tokenize(vocab, text, len(text), ids, room, *modes)
        found.append(list(ids[:count]))
    print(json.dumps(found))
"""


def main() -> None:
    args = _arguments()
    differences = 0
    with tempfile.TemporaryDirectory() as folder:
        for label, path in _files(args, Path(folder)):
            found = _compare(label, path, args.peer, args.n, args.seed)
            print(f"{label:50} {found:6} of {args.n} texts differ", flush=True)
            differences += found
    sys.exit(1 if differences else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare llmlocal's token ids with llama.cpp's.")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--peer", required=True, help="an interpreter that has llama-cpp-python")
    parser.add_argument("-n", type=int, default=10_000, help="texts for each vocabulary")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pre", nargs="*", default=[], help="pre-tokenizers to put into copies of the files, or all")
    parser.add_argument("--random", type=int, default=0, help="how many random vocabularies of each kind")
    return parser.parse_args()


def _files(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Path]]:
    """What to compare; copies are written just before they are used, into one place."""
    copy, model = folder / "copy.gguf", folder / "probe.gguf"
    if args.pre and not args.files:
        write_gguf(model, probe(), ())
    for path in args.files or ([model] if args.pre else []):
        if not args.pre:
            yield path.stem, path
        for name in sorted(BY_NAME) if args.pre == ["all"] else args.pre:
            with open_gguf(path) as file:
                changed = {"tokenizer.ggml.pre": (ValueType.STRING, name)}
                if name == "whitespace":  # under another model's name llama.cpp aborts at the first blank
                    changed["tokenizer.ggml.model"] = (ValueType.STRING, name)
                write_gguf(copy, {**file.metadata.raw(), **changed}, ())
            yield f"{path.stem} as {name}", copy
    for kind, make in KINDS.items():
        for number in range(args.random):
            write_gguf(copy, make(random.Random(f"{args.seed} {kind} {number}")), ())
            yield f"random {kind} #{number}", copy


def _compare(label: str, path: Path, peer: str, n: int, seed: int) -> int:
    with open_gguf(path) as file:
        tokenizer = load(file.metadata)
    rng = random.Random(f"{seed} {label}")
    words = _words(tokenizer, rng)
    texts = [random_text(rng, words) for _ in range(n)]
    program = PEER.replace("MODES", repr(MODES))
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([peer, "-c", program, str(path)], input=lines, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{label}: {done.stderr[-2000:]}")
    different = 0
    for text, line in zip(texts, done.stdout.splitlines(), strict=True):
        theirs = json.loads(line)
        ours = [tokenizer.encode(text, add_special=add, parse_special=parse) for add, parse in MODES]
        if ours != theirs:
            different += 1
            if different <= SHOWN:
                print(f"{label}: {text[:200]!r}")
                for modes, a, b in zip(MODES, ours, theirs, strict=True):
                    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
                    print(f"  {modes} from id {at}: ours {a[at : at + 8]}, theirs {b[at : at + 8]}")
    return different


def _words(tokenizer: Tokenizer, rng: random.Random) -> list[str]:
    """Some tokens as texts, special ones among them."""
    ids = [rng.randrange(tokenizer.n_vocab) for _ in range(500)] + tokenizer.vocab.of_type(2, 3, 4)[:100]
    texts = [tokenizer.piece(id).decode("utf-8", "replace") for id in ids]
    return [text for text in texts if text]


if __name__ == "__main__":
    main()
