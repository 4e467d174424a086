"""The program ``gaitprop``: training, comparisons and reports on the command line."""

import signal
import sys

from gaitprop._native import main as _main


def main() -> int:
    """Run the program with the arguments of this process and return its exit code."""
    # The program handles interrupts itself: training stops after the current step, all else at
    # once. Python's own handler would only raise KeyboardInterrupt when the program has ended.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _main(["gaitprop", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
