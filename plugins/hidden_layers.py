"""The hidden layers of a transformer, read off as it runs; what lies above the highest one wanted is not computed."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence


class HiddenLayers:
    """Layer i is the input of block i; layer N, above the last block, is the model's own last hidden state.

    Several threads may read at once: what is wanted belongs to the thread.
    """

    def __init__(self, blocks: Sequence[Any]) -> None:
        self.top = len(blocks)
        self._thread = threading.local()
        for number, block in enumerate(blocks):
            block.register_forward_pre_hook(partial(self._see, number), with_kwargs=True)

    def read(self, forward: Callable[[], Any], wanted: Collection[int]) -> dict[int, Any]:
        """The layers wanted, as they come out of ``forward()``, which returns a ``last_hidden_state``."""
        self._thread.wanted, self._thread.seen = set(wanted), {}
        try:
            try:
                output = forward()
            except _EnoughError:
                pass
            else:
                if self.top in wanted:
                    self._thread.seen[self.top] = output.last_hidden_state
            return dict(self._thread.seen)
        finally:
            del self._thread.wanted, self._thread.seen

    def _see(self, number: int, block: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        wanted: set[int] = getattr(self._thread, "wanted", set())
        if number in wanted:
            self._thread.seen[number] = args[0] if args else kwargs["hidden_states"]
            if number == max(wanted):
                raise _EnoughError


class _EnoughError(Exception):
    """Raised to leave a forward pass whose further layers nobody wants."""
