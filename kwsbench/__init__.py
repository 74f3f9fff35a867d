"""kwsbench: which speech representation finds a spoken word said by somebody else?

>>> scores = kwsbench.score_pairs(queries, utterances, distance="cosine", matcher="sdtw")
"""

from typing import TYPE_CHECKING, Any

from kwsbench.errors import KwsbenchError
from kwsbench.hookspecs import hookimpl

if TYPE_CHECKING:
    from kwsbench.engine import score_pairs
    from kwsbench.types import Frames, Match, Scores

__all__ = ["Frames", "KwsbenchError", "Match", "Scores", "hookimpl", "score_pairs"]


def __getattr__(name: str) -> Any:
    # numpy too is for those who use it: every pytest run imports kwsbench.pytest_plugin, and this with it.
    if name in ("Frames", "Match", "Scores"):
        from kwsbench import types

        return getattr(types, name)
    # The engine brings torch and numba with it: `kwsbench --help` and plugin files must not pay for that.
    if name == "score_pairs":
        from kwsbench.engine import score_pairs

        return score_pairs
    raise AttributeError(f"module 'kwsbench' has no attribute {name!r}")
