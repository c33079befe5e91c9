"""GGUF files: a strict reader over a mapping, an atomic writer. Knows nothing of formats' arithmetic."""
