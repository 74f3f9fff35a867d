"""Where things that can be made again are kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """The folder of prepared data and cached frames: $KWSBENCH_CACHE, else the user's own cache folder."""
    return Path(os.environ.get("KWSBENCH_CACHE") or platformdirs.user_cache_dir("kwsbench")).expanduser().resolve()
