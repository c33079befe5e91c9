"""Arrays and blocks: formats, SIMD kernels, matrix products. Independent of files, models, threads and text."""
