"""Computing in one thread, or in several of which each computes alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in the calling thread alone: others have the cores, and sums do not depend on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def single_threads(jobs: int, name: str = "") -> ThreadPoolExecutor:
    """Return a pool of `jobs` threads in each of which torch computes in that thread alone.

    torch's number of threads is each thread's own. Set in the main thread only, matrix products in others would still
    be shared among all cores, and their sums depend on how many of them are free.
    """
    import torch

    torch.get_num_threads()  # the calling thread's is settled before others set theirs
    return ThreadPoolExecutor(jobs, name, initializer=torch.set_num_threads, initargs=(1,))
