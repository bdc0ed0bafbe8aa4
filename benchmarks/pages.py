"""
The parts of a page that are made from results: what stands between a pair of markers is written anew.

    <!-- begin: NAME -->
    <!-- begin: NAME: DETAIL -->

Each ends with ``<!-- end: NAME -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MARKERS = re.compile(
    r"^<!-- begin: (?P<name>\w+)(?:: (?P<detail>[^\n]*?))? -->\n(?P<text>.*?)^<!-- end: (?P=name) -->$",
    re.MULTILINE | re.DOTALL,
)


def rewrite(page: str, block: Callable[[str, str], str]) -> str:
    """
    A page with every part between markers as *block* gives it, which is called with the name and the detail.
    """

    def fresh(found: re.Match[str]) -> str:
        name, detail = found["name"], found["detail"] or ""
        begin = f"<!-- begin: {name}{f': {detail}' if detail else ''} -->"
        return f"{begin}\n{block(name, detail)}<!-- end: {name} -->"

    return MARKERS.sub(fresh, page)
