"""kwsbench: which speech representation finds a spoken word said by somebody else?

>>> scores = kwsbench.score_pairs(queries, utterances, distance="cosine", matcher="sdtw")
"""

from typing import TYPE_CHECKING, Any

from kwsbench.errors import KwsbenchError
from kwsbench.hookspecs import hookimpl
from kwsbench.types import Frames, Match, Scores

if TYPE_CHECKING:
    from kwsbench.engine import score_pairs

__all__ = ["Frames", "KwsbenchError", "Match", "Scores", "hookimpl", "score_pairs"]


def __getattr__(name: str) -> Any:
    # The engine brings torch and numba with it: `kwsbench --help` and plugin files must not pay for that.
    if name == "score_pairs":
        from kwsbench.engine import score_pairs

        return score_pairs
    raise AttributeError(f"module 'kwsbench' has no attribute {name!r}")
