"""How a forward pass runs: the graph that records it, the program it becomes, the threads that run it, the KV cache.

Kernels are known by their names and argument fields only; the room does not depend on layers, architectures or files.
"""
