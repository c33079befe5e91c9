"""Arrays and blocks: formats, SIMD kernels, matrix products. Knows no file, model, thread or text."""
