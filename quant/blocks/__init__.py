"""What several block formats share: bit fields, packing, codebooks, scales of K types, the parts of a kernel."""
