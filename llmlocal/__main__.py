"""The start of the terminal program: the only file of this package that imports it."""

import atexit
import gc
import os
import signal
import sys
from contextlib import suppress

from .errors import ResourceError, is_out_of_memory

YOUNG = 200_000  # new objects between two collections of garbage, which find none in modules and vocabularies


def main() -> int:
    """Run the program on the arguments of the process, and return its exit code.

    Ctrl-C ends the process as a signal does while modules are loaded, since nothing could report it there. A shell's
    background job, which ignores it, goes on ignoring it.
    """
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from .cli.main import main
    except (MemoryError, ImportError, OSError, SystemError) as error:
        if not is_out_of_memory(error):
            raise
        os.write(2, b"error: not enough memory\n")
        return ResourceError.exit_code
    signal.signal(signal.SIGINT, before)
    return main()


def run() -> int:
    """As `main`, with which the process ends: at once, since to take modules apart takes Python a tenth of a second."""
    code: list[int] = []
    atexit.register(_end, code)  # what is registered first is called last, after all threads have ended
    code.append(main())
    return code[0]


def _end(code: list[int]) -> None:
    if code:
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None where it is closed
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code[0])


if __name__ == "__main__":
    sys.exit(run())
