"""Hugging Face folders: config.json, safetensors as streams of tensors, and the rules by which tensors are renamed.

An architecture's file states its rules with `conversion`; knows no architecture and writes no GGUF.
"""
