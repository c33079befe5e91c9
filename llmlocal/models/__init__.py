"""One file = one architecture, named as GGUF's `general.architecture` names it."""
