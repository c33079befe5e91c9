"""Walk through grammars in llama.cpp, for tests that compare masks: which tokens may come next, after random ones.

    python tools/walk_grammars.py MODEL.gguf GRAMMARS.json OUT.npz

Runs in an environment with llama-cpp-python (0.3.36 was used). GRAMMARS.json is a list of texts in GBNF. For grammar g
and walk w, OUT.npz has the tokens "g:w" (steps,) int32 and the masks before them "g:w:masks" (steps, n_vocab) as packed
bits. A grammar must not be left-recursive, which llama.cpp refuses.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import llama_cpp as ll
import numpy as np

WALKS, STEPS = 4, 30
ENTRY = np.dtype([("id", "i4"), ("logit", "f4"), ("p", "f4")])


def walk(vocab: Any, sampler: Any, seed: int, lengths: Any, usable: Any) -> tuple[list[int], list[Any]]:
    """Tokens drawn among those that may come next, and their masks; every other walk prefers short ones."""
    random, n = np.random.default_rng(seed), len(lengths)
    tokens, masks = [], []
    for _ in range(STEPS):
        data = (ll.llama_token_data * n)()
        entries = np.frombuffer(data, ENTRY)
        entries["id"] = np.arange(n)
        ll.llama_sampler_apply(sampler, ctypes.byref(ll.llama_token_data_array(data, n, -1, False)))
        allowed = np.isfinite(entries["logit"])
        found = np.flatnonzero(allowed & usable)
        if not len(found):
            break
        weights = np.maximum(lengths[found], 1.0) ** (-4 * (seed % 2))
        masks.append(np.packbits(allowed))
        tokens.append(int(random.choice(found, p=weights / weights.sum())))
        ll.llama_sampler_accept(sampler, tokens[-1])
    return tokens, masks


def main(model: str, grammars: str, out: str) -> None:
    """Write the walks of all grammars."""
    quiet = ll.llama_log_callback(lambda *_: None)
    ll.llama_log_set(quiet, None)
    params = ll.llama_model_default_params()
    params.vocab_only = True
    vocab = ll.llama_model_get_vocab(ll.llama_model_load_from_file(model.encode(), params))
    ids, room = range(ll.llama_vocab_n_tokens(vocab)), ctypes.create_string_buffer(512)
    lengths = np.array([ll.llama_token_to_piece(vocab, id, room, 512, 0, False) for id in ids], np.float64)
    special = [ll.llama_vocab_is_eog(vocab, id) or ll.llama_vocab_is_control(vocab, id) for id in ids]
    found = {}
    for g, text in enumerate(json.loads(Path(grammars).read_text())):
        for w in range(WALKS):
            sampler = ll.llama_sampler_init_grammar(vocab, text.encode(), b"root")
            if not sampler:
                raise ValueError(f"llama.cpp refuses {text!r}")
            tokens, masks = walk(vocab, sampler, w, lengths, ~np.array(special))
            found[f"{g}:{w}"], found[f"{g}:{w}:masks"] = np.array(tokens, np.int32), np.array(masks)
            ll.llama_sampler_free(sampler)
    np.savez(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
