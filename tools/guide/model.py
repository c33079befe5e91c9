"""The guide's network in PyTorch: the llama architecture as GGUF has it (interleaved rotary pairs, tied output).

Knows the shape and the forward pass. Does not know text, files or how it is trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Hyper-parameters; vocabulary and layers vary. Every row length is a multiple of 256, which K types need."""

    vocab: int = 2560
    layers: int = 3

    width, ffn, context = 256, 512, 1024
    heads, kv_heads = 4, 2
    theta, eps = 10_000.0, 1e-5

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


def turns(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (context, head_dim / 2) each."""
    frequencies = shape.theta ** (-torch.arange(0, shape.head_dim, 2) / shape.head_dim)
    angles = torch.arange(shape.context)[:, None] * frequencies
    return angles.cos(), angles.sin()


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on neighbouring pairs of `x` (batch, heads, tokens, head_dim)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention in plain steps: for texts as short as ours twice as fast as PyTorch's own on a CPU.

    `q` (batch, heads, tokens, head_dim), `k` and `v` with fewer heads, each for a group of `q`'s; the result as `q`.
    """
    batch, heads, tokens, size = q.shape
    q = q.reshape(batch, k.shape[1], -1, size)  # heads of a group lie one after the other
    scores = (q @ k.transpose(-2, -1)).view(batch, heads, tokens, tokens).float() * size**-0.5
    hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    shares = scores.masked_fill(hidden, -torch.inf).softmax(-1).to(v.dtype)
    return (shares.view(batch, k.shape[1], -1, tokens) @ v).view(batch, heads, tokens, size)


class Block(nn.Module):
    """Attention and feed-forward, each after a norm and added to what came in."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.shape, kv = s, s.kv_heads * s.head_dim
        self.attn_norm, self.ffn_norm = nn.RMSNorm(s.width, s.eps), nn.RMSNorm(s.width, s.eps)
        self.attn_q = nn.Linear(s.width, s.width, bias=False)
        self.attn_k, self.attn_v = nn.Linear(s.width, kv, bias=False), nn.Linear(s.width, kv, bias=False)
        self.attn_output = nn.Linear(s.width, s.width, bias=False)
        self.ffn_gate, self.ffn_up = nn.Linear(s.width, s.ffn, bias=False), nn.Linear(s.width, s.ffn, bias=False)
        self.ffn_down = nn.Linear(s.ffn, s.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`x` (batch, tokens, width)."""
        s, (batch, tokens, _) = self.shape, x.shape
        h = self.attn_norm(x)
        q, k, v = (
            f(h).view(batch, tokens, heads, s.head_dim).transpose(1, 2)
            for f, heads in ((self.attn_q, s.heads), (self.attn_k, s.kv_heads), (self.attn_v, s.kv_heads))
        )
        q, k = turned(q, cos, sin).to(v.dtype), turned(k, cos, sin).to(v.dtype)
        mixed = attention(q, k, v)
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(batch, tokens, s.width))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Guide(nn.Module):
    """Token ids (batch, tokens) in, logits (batch, tokens, vocab) out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocab, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, shape.eps)
        cos, sin = turns(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                added = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(weight, std=0.04 / (2 * shape.layers) ** 0.5 if added else 0.04)

    def hidden(self, ids: Tensor) -> Tensor:
        """What the output matrix is multiplied by, (batch, tokens, width)."""
        x, tokens = self.token_embd(ids), ids.shape[1]
        for block in self.blk:
            x = block(x, self.cos[:tokens], self.sin[:tokens])
        return self.output_norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        return F.linear(self.hidden(ids), self.token_embd.weight)
