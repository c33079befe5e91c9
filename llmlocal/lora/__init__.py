"""LoRA adapters: read from PEFT folders and GGUF files, merged into weights or added while a model runs.

The room does not depend on the engine and on the terminal.
"""
