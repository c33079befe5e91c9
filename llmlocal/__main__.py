"""The start of the terminal program: the only file of this package that imports it."""

import gc
import signal
import sys

YOUNG = 50_000  # new objects until the garbage collector looks at them: modules and vocabularies are none


def main() -> int:
    """Run the program on the arguments of the process, and return its exit code.

    Ctrl-C ends the process as a signal does while modules are loaded, since nothing could report it there. A shell's
    background job, which ignores it, goes on ignoring it.
    """
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli.main import main

    signal.signal(signal.SIGINT, before)
    return main()


if __name__ == "__main__":
    sys.exit(main())
