"""Control of torch's threads: one thread, or a pool whose threads compute alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Make torch use one thread, so that sums do not depend on the number of cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def single_thread_pool(jobs: int, name: str = "") -> ThreadPoolExecutor:
    """Return a pool of `jobs` threads, in each of which torch uses one thread.

    torch's number of threads is thread-local. Set in the main thread only, matrix products of the others would still
    use all cores, and their sums would depend on how many are free.
    """
    import torch

    torch.get_num_threads()  # initialise the calling thread's number before others set theirs
    return ThreadPoolExecutor(jobs, name, initializer=torch.set_num_threads, initargs=(1,))
