"""The files of a shard, written as frames come: what is held in memory is one item's piece at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

import numpy as np
import numpy.typing as npt

from kwsbench.errors import KwsbenchError


class ShardWriter:
    """One file a layer, and one of the lengths."""

    def __init__(self, files: Mapping[str, IO[bytes]]) -> None:
        self._files = files
        self._lengths: list[int] = []
        self._dims: dict[str, int] = {}

    def start(self) -> None:
        """A new item; it has no frames yet."""
        self._lengths.append(0)

    def append(self, features: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """More frames of the last item, in every layer. Raises KwsbenchError when a layer's width changes."""
        for layer, file in self._files.items():
            values = features[layer]
            if layer not in self._dims:
                self._dims[layer] = values.shape[1]
                _write_header(file, 0, values.shape[1])
            if values.shape[1] != self._dims[layer]:
                raise KwsbenchError(
                    f"layer {layer} has clips of {sorted({self._dims[layer], values.shape[1]})} dimensions; an encoder "
                    "has one width"
                )
            file.write(np.ascontiguousarray(values, np.float32).data)
        self._lengths[-1] += len(values)

    def finish(self, lengths: IO[bytes]) -> None:
        """Say in the headers how many frames there are."""
        np.save(lengths, np.array(self._lengths, np.int64))
        for layer, file in self._files.items():
            file.seek(0)
            _write_header(file, sum(self._lengths), self._dims.get(layer, 0))


def _write_header(file: IO[bytes], frames: int, dims: int) -> None:
    """The header of an .npy file, which numpy pads so that it is as long for any number of frames."""
    np.lib.format.write_array_header_1_0(
        file, {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": (frames, dims)}
    )
