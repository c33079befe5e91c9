"""Hugging Face folders as streams of tensors and GGUF metadata; each architecture says its part in `words`."""
