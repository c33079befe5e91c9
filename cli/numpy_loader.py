"""How the program loads NumPy, whose OpenBLAS ends the process by itself where it gets no memory or no thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from ..quant.address_space import require

# Bytes that NumPy 2.4 takes with one thread of OpenBLAS are 85 MB, of which OpenBLAS' buffer is the last.
ADDRESS_SPACE = 96 << 20
THREADS = "OPENBLAS_NUM_THREADS"


def install() -> None:
    """Have NumPy loaded so when it is imported for the first time, if it is."""
    if "numpy" not in sys.modules and not any(isinstance(finder, _NumpyFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NumpyFinder())


class _NumpyFinder:
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """NumPy, with memory asked for it before. Raises MemoryError where there is too little."""
        if fullname != "numpy":
            return None
        sys.meta_path.remove(self)
        require(ADDRESS_SPACE)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None and THREADS not in os.environ:
            execute = spec.loader.exec_module

            def with_one_thread(module: ModuleType) -> None:
                """Matrices are multiplied by our threads: each of OpenBLAS takes a stack and 32 MB for nothing."""
                os.environ[THREADS] = "1"
                try:
                    execute(module)
                finally:
                    del os.environ[THREADS]  # programs that we start choose for themselves

            spec.loader.exec_module = with_one_thread  # type: ignore[method-assign]
        return spec
