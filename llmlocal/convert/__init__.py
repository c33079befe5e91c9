"""Hugging Face folders as sources of tensors with GGUF's names and metadata.

`hf_source` is the door; `quantize` plans what a source becomes and writes it.
"""
