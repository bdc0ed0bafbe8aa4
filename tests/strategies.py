"""
What Hypothesis draws for the tests of several modules.
"""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.levels import SEVERITIES

LAST_MILLISECOND = 4_102_444_800_000  # 2100-01-01, as milliseconds since the epoch

# What no line of a text file may have: what ends it, acts on a terminal or is no UTF-8. The tab is harmless.
UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# Without surrogates: a pair of lone ones can't be told from the character that it stands for.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)

# What text-based tools trip over, each by itself and beside ordinary letters.
nasty_texts = st.text(
    st.sampled_from("ab =|\"'\\\n\r\t\x00\x1b\x7f\x85\x9b\u061c\u2028\u2029\u202e\u2066\ufeff\U0001f600é:{}[]p,x"),
    max_size=12,
)
any_texts = texts | nasty_texts

names = st.from_regex(r"[a-z]{1,8}(_[a-z]{1,8})?", fullmatch=True)

timestamps = st.integers(min_value=0, max_value=LAST_MILLISECOND).map(lambda milliseconds: milliseconds / 1000)
severities = st.sampled_from(SEVERITIES)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(any_texts, children, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(any_texts, json_values, max_size=4)

lines = st.builds(
    Line,
    ts=timestamps,
    level=severities,
    session=any_texts,
    event=any_texts.filter(bool) | names | st.sampled_from(["log", "output", "session_end"]),
    data=json_objects,
    seq=st.none() | st.integers(1, 2**53),
    pid=st.none() | st.integers(1, 2**22),
    msg=st.none() | any_texts,
    logger=st.none() | any_texts,
    exc=st.none() | any_texts,
)
