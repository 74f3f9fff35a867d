"""The six hooks: a plugin author's whole contract.

A plugin is a module with one or more of these functions, each marked ``@kwsbench.hookimpl``, and
one entry-point line in the group ``kwsbench``. A single file works with ``--plugin FILE.py``.

``register(name, factory, **defaults)`` takes a factory that is called only when a run needs it:
import torch inside it. Its keyword parameters are what a user may set after the name
(``name:key=value``), typed by their annotations; the first line of its docstring is what
``kwsbench plugins`` prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from kwsbench.plugins import Register

GROUP = "kwsbench"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def register_encoders(register: Register) -> None:
    """Register speech representations: factories of ``kwsbench.types.Encoder``."""


@hookspec
def register_transforms(register: Register) -> None:
    """Register corrections of frames: factories of ``kwsbench.types.Transform`` or ``SpeakerTransform``."""


@hookspec
def register_distances(register: Register) -> None:
    """Register costs between frames: factories of ``Distance``, ``GramDistance`` or ``NeighbourDistance``."""


@hookspec
def register_matchers(register: Register) -> None:
    """Register ways to lay a query on an utterance: factories of ``kwsbench.types.Matcher``."""


@hookspec
def register_score_norms(register: Register) -> None:
    """Register corrections of scores, written after a matcher (``sdtw+tnorm``): factories of ``ScoreNorm``."""


@hookspec
def register_datasets(register: Register) -> None:
    """Register data sets: factories of ``kwsbench.types.DatasetSource``."""
