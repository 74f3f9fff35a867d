"""What the user can mend: one line that says what is wrong and what to do next."""

import difflib
from collections.abc import Iterable


class KwsbenchError(Exception):
    """A mistake in the user's input, files or plugins. The command line prints it without a traceback."""


class TooShort(KwsbenchError):
    """Audio shorter than one frame of an encoder. The runner counts such items and ranks them last."""

    def __init__(self, samples: int, needed: int) -> None:
        super().__init__(f"{samples} samples, but one frame needs {needed}; use a longer clip")
        self.samples = samples
        self.needed = needed


class PluginError(KwsbenchError):
    """A plugin broke its contract: bad shape, NaN, a missing attribute, an exception of its own."""


class UnknownName(KwsbenchError):
    """A name that nothing is registered under."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(f"unknown {what} {name!r}. {did_you_mean(name, known)}")


def one_line(error: BaseException) -> str:
    """An exception in a line: ours as they are worded, others with their type."""
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, KwsbenchError) else f"{type(error).__name__}: {text}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The closest known names as a question, else all of them as a list."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(known)}" if known else "None is registered."
