"""Language models on the CPU. Knows GGUF, graphs, tokens and sessions; knows no terminal and prints nothing."""

__version__ = "0.1.0"
