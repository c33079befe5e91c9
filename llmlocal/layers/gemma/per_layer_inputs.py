"""Per-layer embeddings: what each block gets of the token beside the residual stream (Gemma 3n and 4).

A token's row in the table has a part for every block. A block reads its part only when it runs, from the mapping of
the file: a run touches the rows of the batch's tokens and no others.
"""

from __future__ import annotations

from ...runtime.graph import Value
from .. import Layers
from ..hyperparameters import Hyperparameters
from ..metadata import Config
from ..weights import Weights


class PerLayerInputs:
    """`size` values for each block: of the token's row, and projected from the embedding. A size of 0 is none."""

    def __init__(self, c: Config, h: Hyperparameters, w: Weights, vocab: int, x: Value) -> None:
        """The tables of a file, for the scaled embedding x (tokens, width), over which nothing may write.

        Raises BadFileError for wrong tensors and sizes.
        """
        self.size, self._x = c.integer("embedding_length_per_layer_input", 0, 1 << 16, 0), x
        if not self.size:
            return
        self._table = table = w.matrix("per_layer_token_embd.weight", vocab, h.blocks * self.size)
        if self.size % table.format.block:
            what = f"{self.size} values for a layer are not a multiple of the {table.format.block} in a block"
            raise w.fail(f"tensor '{table.name}' is {table.format.name}: {what}")
        self._projection = w.matrix("per_layer_model_proj.weight", h.blocks * self.size, h.width)
        self._norm = w.vector("per_layer_proj_norm.weight", self.size)

    def of(self, g: Layers, h: Hyperparameters, block: int) -> Value:
        """The input of a block (tokens, size): (row * sqrt(size) + norm(projection(x) / sqrt(width))) / sqrt(2)."""
        first, last = block * self.size, (block + 1) * self.size
        row = g.scale(g.embed_part(self._table, first, last), self.size**0.5)
        # A norm undoes a factor of its input: only eps has to follow.
        projected = g.norm(g.linear(self._x, self._projection.part(first, last)), self._norm, h.eps * h.width)
        return g.scale(g.add(projected, row), 0.5**0.5)

    def gated(self, g: Layers, h: Hyperparameters, w: Weights, x: Value, block: int) -> Value:
        """norm(proj(gelu(gate(x)) * input)) for a block's tensors `w` and x (tokens, width)."""
        gate = g.linear(x, w.matrix("inp_gate.weight", self.size, h.width))
        out = g.linear(g.geglu(gate, self.of(g, h, block)), w.matrix("proj.weight", h.width, self.size))
        return g.norm(out, w.vector("post_norm.weight", h.width), h.eps)

    def add_to(self, g: Layers, h: Hyperparameters, w: Weights, x: Value, block: int) -> Value:
        """x (tokens, width) plus what `gated` makes of it, in place of x."""
        return g.add(x, self.gated(g, h, w, x, block)) if self.size else x
