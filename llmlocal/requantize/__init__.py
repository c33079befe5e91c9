"""From one GGUF file or Hugging Face folder to a quantized GGUF file: what becomes of each tensor, and the writing."""
