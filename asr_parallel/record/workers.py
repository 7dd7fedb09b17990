"""What a worker process owes its parent."""

import os
import signal
import threading
from multiprocessing import parent_process


def follow_the_parent() -> None:
    """To be called first in a worker: it leaves Ctrl-C to the parent, and ends when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
