"""How a forward pass runs: the graph that records it, the program, the team of threads, the KV cache.

Knows kernels by their fields; knows no architecture, no file and no text.
"""
