"""Hugging Face folders: config.json, safetensors as streams of tensors, and the rules by which tensors are renamed.

An architecture's file in `models/` states its rules with `conversion`; `convert/` applies them.
"""
