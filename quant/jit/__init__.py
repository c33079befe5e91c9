"""Python functions to machine code: the CPU, compile options, the kernel cache, compiling in parallel."""
