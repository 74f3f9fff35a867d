"""Pages that stand alone: a template filled in, data that no parser takes for markup, a policy that allows no more."""

from __future__ import annotations

import base64
import hashlib
from html import escape

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{policy}}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{{title}}</title>
<link rel="icon" href="data:,">
<style>{{style}}</style>
</head>
<body>
{{body}}
<script type="application/json" id="figures">{{data}}</script>
<script>{{script}}</script>
</body>
</html>"""


def page(body: str, *, title: str, plain: str, style: str, script: str, data: str, sources: str = "") -> str:
    """A page in which nothing runs or loads but its own style and script, and pictures and sounds that it holds.

    body: markup with places for the title and the plain text, which are text. data: JSON, which the script finds
    as ``figures``. sources: what else the policy allows (``media-src 'self'; ``).
    """
    text = {"title": escape(title), "plain": escape(plain)}
    return _fill(
        _PAGE,
        policy=f"default-src 'none'; img-src data:; {sources}style-src {_source(style)}; script-src {_source(script)}",
        title=text["title"],
        style=style,
        body=_fill(body, **text),
        data=_inert(data),
        script=script,
    )


def _fill(template: str, **parts: str) -> str:
    """Put each part in its {{place}}, once: a part that holds such a place itself is left alone."""
    pieces = template.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces[1:]))


def _inert(text: str) -> str:
    """JSON that no HTML parser reads as markup, whatever is in its strings: ``</script>``, ``<!--``."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _source(text: str) -> str:
    """A script or style as a content security policy names it, by its digest."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
