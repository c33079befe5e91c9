"""From a source of tensors to a GGUF file: `source` reads, `plan` gives every tensor its type, `write` streams them.

`convert` and `quantize` are the same pipeline with different plans.
"""
