"""Imported before NumPy: its BLAS computes with one thread.

pytest-xdist has a process for each core. Threads of BLAS wait for each other in loops there: under load, products of
small matrices take ten times the CPU time.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
