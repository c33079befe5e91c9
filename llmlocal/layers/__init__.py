"""The layers that architectures are written in, and how they read a file's weights and hyperparameters.

A layer records kernels into a graph; nothing is computed before the program runs. Values are (tokens, width) float32,
and heads lie side by side in the width. The room does not depend on any architecture.
"""

from .basic.attention import Attention
from .basic.elementwise import Elementwise
from .basic.graph_layers import Linear
from .basic.norms import Norms
from .basic.products import Products
from .basic.selection import Selection

__all__ = ["Layers", "Linear"]


class Layers(Products, Norms, Elementwise, Attention, Selection):
    """The layers that every architecture may use; see `GraphLayers` for the arguments.

    Recurrent layers, mixtures of experts and blocks are functions that take it.
    """
