"""From a Hugging Face folder or LoRA adapters to the metadata and tensors of a GGUF file.

Knows vocabularies and tensor names; knows no kernel and no engine.
"""
