"""The search for scales and offsets that minimize the quantization error: NumPy references and SIMD kernels."""
