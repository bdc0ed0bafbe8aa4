"""
Text on one line: escapes for what would break it or act on a terminal, and ``key=value`` pairs as in logfmt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sessionlog_handlers.formats.encoding import cut_text, encode_object, safe_repr

# Controls (the tab is harmless and stays), line separators, marks that reverse the direction of text, lone surrogates.
_UNSAFE_CLASS = r"\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_ESCAPED = re.compile(rf"[\\{_UNSAFE_CLASS}]")
_UNSAFE = re.compile(f"[{_UNSAFE_CLASS}]")
_ESCAPE_SEQUENCE = re.compile(r"\\(?:([\\nrp])|x([0-9a-f]{2})|u([0-9a-f]{4}))")
_SHORT_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_SHORT_MEANINGS = {"\\": "\\", "n": "\n", "r": "\r", "p": "|"}

_KEY_TRASH = re.compile(rf'[\s="\\{_UNSAFE_CLASS}]')
_BARE = re.compile(rf'[^\s="\\{_UNSAFE_CLASS}]+')
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf'([^\s="\\]+)=({_QUOTED}|[^\s="\\]+)(?=\s|\Z)')
_QUOTED_SEQUENCE = re.compile(r'\\(?:(["\\nrp])|x([0-9a-f]{2})|u([0-9a-f]{4}))')


def _write_escape(match: re.Match[str]) -> str:
    character = match[0]
    short = _SHORT_ESCAPES.get(character)
    if short is not None:
        return short
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def escape(text: str) -> str:
    """
    Escape the backslash and all that would break the line or act on a terminal.

    The escapes are ``\\\\``, ``\\n``, ``\\r``, ``\\xNN`` and ``\\uNNNN``. The tab stays.
    """
    # Letters, digits, punctuation and the plain space, which nearly every text is made of, need no look one by one.
    if text.isprintable() and "\\" not in text:
        return text
    return _ESCAPED.sub(_write_escape, text)


def make_visible(text: str) -> str:
    """
    Text for people's eyes: what would break the line or act on a terminal is shown as its escape, a backslash stays.
    """
    return text if text.isprintable() else _UNSAFE.sub(_write_escape, text)


def escape_json(text: str) -> str:
    """
    JSON on one line with the same characters as ``\\uNNNN``: it means what it meant, and a terminal does nothing to it.
    """
    return text if text.isprintable() else _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape_field(text: str) -> str:
    """
    `escape`, and ``\\p`` for ``|``.
    """
    return escape(text).replace("|", "\\p")


def _read_escape(match: re.Match[str]) -> str:
    short, byte, unit = match.groups()
    if short is None:
        return chr(int(byte or unit, 16))
    return _SHORT_MEANINGS.get(short, short)


def unescape(text: str) -> str:
    """
    Give back what `escape` or `escape_field` was given. Unknown sequences stay as they are.
    """
    return _ESCAPE_SEQUENCE.sub(_read_escape, text) if "\\" in text else text


def value_text(value: object, max_chars: int = 0) -> str:
    """
    A field's value as one text, cut after about *max_chars* characters if that is not 0.

    Texts stay as they are, numbers are as Python writes them, then there are ``true``, ``false`` and ``null``; the rest
    is JSON.
    """
    if value.__class__ is str:
        return cut_text(value, max_chars) if max_chars else value
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "null"
    if value.__class__ is int and -(10**18) < value < 10**18:
        return str(value)
    if value.__class__ is float:
        return repr(value)
    encoded = encode_object({"": value}, max_chars)
    if not encoded.startswith(b'{"":'):
        return encoded.decode("utf-8")  # the marker of what was too long
    text = encoded[4:-1].decode("utf-8")
    # A JSON string stands for itself; its quotes would only be quoted again.
    return str(json.loads(text)) if text.startswith('"') else text


def format_pairs(fields: Mapping[str, Any], max_chars: int = 0) -> str:
    """
    ``key=value key="two words"``, safe on one line. Never raises.

    Values are quoted when they are empty or hold white space, quotes, ``=``, backslashes or control characters. In keys
    such characters become ``_``.

    Args:
        fields: The fields.

        max_chars:
            About the most characters of the result. Beyond it a long value is cut, and fields are left out, with
            ``truncated=`` and their number in their place. 0 means no limit. (default: 0)
    """
    try:
        # Escapes take up to six characters for one.
        share = max_chars // 8
        pairs = [f"{clean_key(key)}={quote_value(value_text(value, share))}" for key, value in fields.items()]
        if max_chars and len(text := " ".join(pairs)) > max_chars:
            kept = _count_fitting(pairs, max_chars)
            return " ".join([*pairs[:kept], f"truncated={len(pairs) - kept}"])
        return text if max_chars else " ".join(pairs)
    except Exception as error:
        return f"format_error={quote_value(safe_repr(error))}"


def _count_fitting(pairs: list[str], max_chars: int) -> int:
    size = 0
    for count, pair in enumerate(pairs):
        size += len(pair) + 1
        if size > max_chars:
            return count
    return len(pairs)


def clean_key(key: object) -> str:
    """
    A key as a pair may have it, never empty.
    """
    if key.__class__ is str and key.isidentifier():
        return key
    text = key if isinstance(key, str) else value_text(key)
    return _KEY_TRASH.sub("_", text) or "_"


def quote_value(text: str) -> str:
    """
    A value as a pair may have it, in quotes where needed.
    """
    if text.isalnum() or _BARE.fullmatch(text):
        return text
    quoted = escape(text).replace('"', '\\"')
    return f'"{quoted}"'


def unquote_value(text: str) -> str:
    """
    Give back what `quote_value` was given.
    """
    if not text.startswith('"'):
        return text
    return _QUOTED_SEQUENCE.sub(_read_escape, text[1:-1])


def parse_pairs(message: str) -> dict[str, str]:
    """
    Every ``key=value`` that stands in a message as a word of its own, quoted ones included.

    Best effort: prose may look alike.
    """
    return {match[1]: unquote_value(match[2]) for match in _iter_pairs(message)}


def split_pairs(text: str) -> tuple[str, list[tuple[str, str]]]:
    """
    A text without the unbroken run of pairs at its end, and the pairs of that run.
    """
    run: list[re.Match[str]] = []
    for match in _iter_pairs(text):
        if run and match.start() != run[-1].end() + 1:
            run.clear()
        run.append(match)
    if not run or run[-1].end() != len(text):
        return text, []
    return text[: max(run[0].start() - 1, 0)], [(match[1], unquote_value(match[2])) for match in run]


def _iter_pairs(text: str) -> list[re.Match[str]]:
    pairs = []
    position = 0
    while True:
        match = _PAIR.match(text, position)
        if match:
            pairs.append(match)
            position = match.end()
        position = text.find(" ", position) + 1
        if not position:
            return pairs
