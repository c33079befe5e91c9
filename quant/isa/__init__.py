"""One file = one instruction set: its intrinsics, and the sizes of its register tiles."""
