"""``arbshard run`` whose supervisor loses memory and descriptors, and logs an error every two seconds."""

import os
import sys
import threading
import time

from arbshard.cli import main
from arbshard.log import get_logger

_EVERY_S = 0.1
_BYTES = 500_000
_ERROR_EVERY = 20


def leak() -> None:
    """Until the process ends."""
    lost: list[bytearray] = []
    descriptors: list[int] = []
    while True:
        time.sleep(_EVERY_S)
        lost.append(bytearray(os.urandom(_BYTES)))
        descriptors.append(os.open(os.devnull, os.O_RDONLY))
        if len(lost) % _ERROR_EVERY == 0:  # a monitor that is started late sees the next one
            get_logger().error("made by the test", error="on purpose")


if __name__ == "__main__":
    threading.Thread(target=leak, daemon=True).start()
    sys.argv = ["arbshard", *sys.argv[1:]]
    main()
