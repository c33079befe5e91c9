"""The levels of 4-bit numbers that are not evenly spaced: the value of each index 0..15."""

from __future__ import annotations

# ggml's kvalues_iq4nl: closer together near zero, where most weights lie.
NON_LINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
NON_LINEAR_TRIALS = ((-150.0, 5.0, 12), (95.0, 5.0, 12))  # of the search for scales of these levels
# Twice the values of E2M1 floats (OCP Microscaling Formats, 5.3.3): bit 3 is the sign, and there is a minus zero.
E2M1 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
