"""The Free Spoken Digit Dataset, in its own layout: recordings/{digit}_{speaker}_{take}.wav."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import kwsbench
from kwsbench.errors import KwsbenchError
from kwsbench.types import Clip, Dataset, Progress, no_progress

if TYPE_CHECKING:
    from kwsbench.plugins import Register

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<take>\d+)\.wav")


class FreeSpokenDigits:
    """English digits, each said many times by a few speakers (Jackson et al., 8 kHz, CC BY-SA 4.0).

    path: the data set's folder, or its ``recordings`` folder; otherwise what the environment variable
    KWSBENCH_FSDD says, or ``free-spoken-digit-dataset`` in the working folder. takes: how many of each speaker's
    recordings of each digit are read, the lowest numbers first; 0 for all.
    """

    def __init__(self, *, path: Path | None = None, takes: int = 0) -> None:
        if takes < 0:
            raise KwsbenchError(f"fsdd:takes={takes} must not be negative; 0 takes all")
        path = path or Path(os.environ.get("KWSBENCH_FSDD", "free-spoken-digit-dataset"))
        self.path = path.expanduser()  # no shell expands the ~ of fsdd:path=~/data
        self.takes = takes

    @property
    def prepared(self) -> bool:
        """Always: the recordings are the user's, nothing is fetched."""
        return True

    def load(self, progress: Progress = no_progress) -> Dataset:
        """The clips, by digit, speaker and take. Raises KwsbenchError when the folder is none of FSDD's."""
        folder = self._recordings()
        found: dict[tuple[str, str], list[tuple[int, Path]]] = {}
        files = sorted(folder.glob("*.wav"))
        for done, file in enumerate(files):
            progress("reading names", done, len(files))
            name = _NAME.fullmatch(file.name)
            if not name:
                raise KwsbenchError(
                    f"{file}: expected DIGIT_SPEAKER_TAKE.wav, as in 7_jackson_32.wav; move other files elsewhere"
                )
            found.setdefault((name["digit"], name["speaker"]), []).append((int(name["take"]), file))
        progress("reading names", len(files), len(files))
        if not found:
            raise KwsbenchError(f"{folder}: no .wav files, expected names such as 7_jackson_32.wav")
        clips = [
            _clip(DIGITS[int(digit)], speaker, file)
            for (digit, speaker), takes in sorted(found.items())
            for _, file in sorted(takes)[: self.takes or None]
        ]
        return Dataset("fsdd", tuple(clips), "en")

    def _recordings(self) -> Path:
        if not self.path.is_dir():
            raise KwsbenchError(
                f"fsdd:path={self.path}: no such folder; give the one that holds recordings/ (to get it: "
                "git clone https://github.com/Jakobovski/free-spoken-digit-dataset)"
            )
        inside = self.path / "recordings"
        return inside if inside.is_dir() else self.path


def _clip(word: str, speaker: str, file: Path) -> Clip:
    return Clip(file.stem, file, speaker, file.stem, keyword=word, transcript=word)


@kwsbench.hookimpl
def register_datasets(register: Register) -> None:
    """Register ``fsdd``."""
    register("fsdd", FreeSpokenDigits)
