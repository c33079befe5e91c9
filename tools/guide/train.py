"""Train the guide: vocabulary, network, checkpoints. CPU only, repeatable from a seed; bfloat16 where the CPU has it.

    python tools/guide/train.py OUT --steps 4000

writes OUT/tokenizer.json and OUT/weights.npz. Knows the loop; the corpus and the network have files of their own.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from time import perf_counter

import corpus
import numpy as np
import torch
import vocabulary
from model import Guide, Shape
from torch import Tensor, distributed
from torch.nn import functional as F
from unpack import unpack

os.environ.setdefault("OMP_NUM_THREADS", "1")
DRAWN = 4096  # conversations drawn at once and sorted by length, so that little is padding
WORKERS = 2  # processes of one thread each: they meet once a step, which a busy machine allows better than threads do
LAST, WARMUP = 0.02, 100  # the learning rate's share at the end, steps to reach its peak (a tenth of a short run)
BFLOAT16 = torch.cpu.get_capabilities().get("avx512_bf16", False)  # elsewhere float32 is faster
ASKED = 0.1  # weight of a question's tokens in the loss: reading helps, but answers are the aim


def batches(encoder: vocabulary.Encoder, context: int, size: int, rng: Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Without end: ids (rows, tokens) and weights of the same shape, `size` tokens at most, padding included."""
    while True:
        drawn = encoder.conversations([corpus.conversation(rng) for _ in range(DRAWN)], rng)
        drawn = sorted(((ids[:context], weights[:context]) for ids, weights in drawn), key=lambda pair: len(pair[0]))
        groups: list[list[tuple[list[int], list[float]]]] = [[]]
        for pair in drawn:
            if (len(groups[-1]) + 1) * len(pair[0]) > size:
                groups.append([])
            groups[-1].append(pair)
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(ids) for ids, _ in group)
            ids = torch.tensor([ids + [encoder.end] * (longest - len(ids)) for ids, _ in group])
            yield ids, torch.tensor([weights + [0.0] * (longest - len(weights)) for _, weights in group])


def loss_of(model: Guide, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the cross entropy; places without weight are not even multiplied by the output matrix."""
    wanted = weights[:, 1:] > 0
    with torch.autocast("cpu", torch.bfloat16, enabled=BFLOAT16):
        logits = F.linear(model.hidden(ids)[:, :-1][wanted], model.token_embd.weight)
    losses = F.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
    w = weights[:, 1:][wanted]
    return (losses * w).sum() / w.sum()


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: up in a line, down in a cosine."""
    warmup = min(WARMUP, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * done))


def save(model: Guide, path: Path) -> None:
    """The weights in float32 by name."""
    np.savez(path, **{name: weight.detach().float().numpy() for name, weight in model.named_parameters()})


def averaged(model: Guide) -> None:
    """Each worker's gradients become the mean of all."""
    gradients = [w.grad for w in model.parameters() if w.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    distributed.all_reduce(flat)
    flat /= WORKERS
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def optimizer_of(model: Guide) -> torch.optim.Optimizer:
    """AdamW; vectors do not decay."""
    matrices, vectors = ([w for w in model.parameters() if (w.ndim == 2) is flat] for flat in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.97), fused=True)


def load(model: Guide, path: Path) -> None:
    """Weights that `save` wrote."""
    with np.load(path) as arrays:
        model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})


def work(rank: int, out: Path, steps: int, seed: int, layers: int, peak: float, batch: int, start: Path | None) -> None:
    """One worker: the same weights as the other, other conversations. The first one writes."""
    os.setsid()  # Linux shares a busy machine by sessions
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    distributed.init_process_group("gloo", init_method=f"file://{out.resolve()}/meeting", rank=rank, world_size=WORKERS)
    encoder = vocabulary.Encoder(out / "tokenizer.json", ASKED)
    model = Guide(Shape(vocab=encoder.tokenizer.get_vocab_size(), layers=layers))
    if start:
        load(model, start / "weights.npz")
    optimizer, began, seen, mean = optimizer_of(model), perf_counter(), 0, 0.0
    stream = batches(encoder, model.shape.context, batch, Random(seed * WORKERS + rank))
    for step, (ids, weights) in zip(range(1, steps + 1), stream, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = peak * rate(step, steps)
        loss = loss_of(model, ids, weights)
        optimizer.zero_grad()
        loss.backward()
        averaged(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen, mean = seen + WORKERS * ids.numel(), loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        if rank == 0 and step % 25 == 0:
            seconds = perf_counter() - began
            print(f"{step}/{steps} loss {mean:.4f} {seen / seconds:.0f} tokens/s {seconds:.0f} s", flush=True)
        if rank == 0 and (step % 100 == 0 or step == steps):
            save(model, out / "weights.npz")
    distributed.destroy_process_group()


def train(out: Path, steps: int, seed: int, layers: int, peak: float, batch: int, start: Path | None) -> None:
    """Vocabulary, then weights; both go on from those of `start`, a folder or a GGUF, if there is one."""
    out.mkdir(parents=True, exist_ok=True)
    if start and start.is_file():
        unpack(start, out / "start")
        start = out / "start"
    (out / "meeting").unlink(missing_ok=True)
    if start:
        shutil.copy(start / "tokenizer.json", out)
    else:
        vocabulary.train(out / "tokenizer.json", seed)
    torch.multiprocessing.spawn(work, (out, steps, seed, layers, peak, batch, start), WORKERS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--peak", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--batch", type=int, default=2560, help="tokens of one worker and step, padding included")
    parser.add_argument("--start", type=Path, help="folder of an earlier run, or the GGUF of one, to go on from")
    options = parser.parse_args()
    train(options.out, options.steps, options.seed, options.layers, options.peak, options.batch, options.start)
