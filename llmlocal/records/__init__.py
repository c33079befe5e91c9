"""Records of answers: everything that an answer depends on and its tokens, in a file; and running one again."""
