"""Work is shared out by clips and tiles, each on one thread: libraries must not add threads of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def take_torch_threads() -> None:
    """For the initializer of a pool: a new thread takes torch's number of threads over only when it is asked for.

    Without this, every worker's matrix products would begin as many threads as there are cores.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.get_num_threads()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Torch on one thread, where something has imported it; in pools begun inside with ``take_torch_threads``, too."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
