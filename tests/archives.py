"""Small archives made of sounds, for tests of everything that does not need speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile


def write_tone(
    path: Path, *, hz: float = 200.0, seconds: float = 0.5, rate_hz: int = 16_000, channels: int = 1
) -> Path:
    """A short sound that is not silence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    tone = 0.3 * np.sin(2 * np.pi * hz * t) + 0.05 * np.sin(2 * np.pi * 3.1 * hz * t)
    soundfile.write(path, np.repeat(tone[:, None], channels, axis=1).astype(np.float32), rate_hz)
    return path


def write_manifest(folder: Path, rows: list[dict[str, object]], name: str = "manifest.tsv") -> Path:
    """A manifest of these rows, whose columns are the union of theirs."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    separator = "," if name.endswith("csv") else "\t"
    lines = [separator.join(columns)] + [separator.join(str(row.get(c, "")) for c in columns) for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name
