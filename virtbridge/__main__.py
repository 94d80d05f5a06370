"""`python -m virtbridge` and the console script."""

import gc
import signal
import sys


def main(arguments: list[str] | None = None) -> int:
    """The command's exit status. Until the daemon takes SIGINT over it ends us without a traceback, also
    while the command is imported, which is most of the start.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        gc.disable()
        from virtbridge import command
    except MemoryError:
        print("virtbridge: out of memory", file=sys.stderr)
        return 1
    # What an import makes stays for good: a collector that goes through it again and again finds nothing, and
    # takes 14 of the import's 197 ms.
    gc.freeze()
    gc.enable()
    return command.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
