"""One file = one instruction set: the same words, each time in that set's best instructions."""
