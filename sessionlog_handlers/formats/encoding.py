"""
Named fields to JSON, whatever they hold: a ladder of encoders of which the last can't fail.

The result is strict JSON in valid UTF-8 on one line, without a character that a terminal would act on.
"""

from __future__ import annotations

import json
import math
import re
import sys
from binascii import b2a_base64
from collections import deque
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

MAX_DEPTH = 64  # containers within containers; readers of other languages stop at about 100
MAX_SEARCH_DEPTH = 3  # containers within containers that are searched for a text too long to encode at all
MAX_RANGE = 1000  # values; a longer range, which itself takes no room, is written as its text
MAX_INTEGER_BITS = 2048  # below the 640 digits at which Python may be told to refuse int <-> str

# DEL, the C1 controls, the line separators U+2028 and U+2029, and the marks that reverse the direction of text. JSON
# allows all of them as they are, terminals and pagers act on them. In UTF-8, so that encoded bytes can be searched.
_UNSAFE = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]")

_GROWING_TYPES = frozenset({bytes, dict, list})  # beside `str`, what may hold a text that is too long
DEL = 0x7F
PART_BYTES = 64 * 1024  # that are searched for unsafe characters at a time
FEW_BYTES = 2 * MAX_DEPTH  # an object of that size can't be too deep

_SEQUENCES = (list, tuple, set, frozenset, deque, range, KeysView, ValuesView, ItemsView)
_MSGSPEC_TEXTS = (date, time, timedelta, UUID, Decimal)  # `datetime` is a date
_DATACLASS_MARK = "__dataclass_fields__"  # by which `dataclasses.is_dataclass` knows one
_PLAIN_TYPES = frozenset({str, int, bool, type(None), bytes})


def safe_repr(value: object) -> str:
    """
    ``repr(value)``, or a placeholder that names the type when that raises.
    """
    try:
        return str.__str__(repr(value))
    except Exception:
        return f"<unprintable {type(value).__name__} object>"


def cut_text(text: str, max_chars: int) -> str:
    """
    The head of a text that is longer than *max_chars*, with its original length in a marker at the end.
    """
    if len(text) <= max_chars:
        return text
    return f"{text[:max_chars]}...[truncated, {len(text)} characters]"


def encode_object(fields: Mapping[str, Any], max_bytes: int = 0) -> bytes:
    """
    Encode named fields as a JSON object. Never raises.

    Values that JSON lacks become text: not-a-number and infinities by their names, bytes in base64, paths, dates and
    ids as they are usually written, everything else as its ``repr``.

    Args:
        fields: The fields; changed neither now nor later.

        max_bytes:
            The most that the result may have. Beyond it long texts are cut, with a marker that tells their length; if
            that isn't enough, the object becomes ``{"truncated": {"bytes": original length, "head": text}}``.
            0 means no limit. (default: 0)
    """
    try:
        if max_bytes:
            # Encoding a text of 50 MB only to cut the result would hold several times its memory.
            for value in fields.values():
                kind = value.__class__
                if kind is str:
                    if len(value) > max_bytes:
                        return _encode_cut(fields, max_bytes)
                elif kind in _GROWING_TYPES and _is_long(value, max_bytes, MAX_SEARCH_DEPTH):
                    return _encode_cut(fields, max_bytes)
        encoded = escape_unsafe(_encode(fields))
        return _encode_cut(fields, max_bytes, encoded) if max_bytes and len(encoded) > max_bytes else encoded
    except Exception as error:
        return _encode_failure(error)


def is_whole(encoded: bytes) -> bool:
    """
    Whether the fast encoder has surely lost nothing of the fields it was given. If not, `encode_object` looks closer.
    """
    # `rfind`, since `find` takes half as long again for bytes, and `in` three times as long.
    return encoded.rfind(b"null") < 0 and (len(encoded) <= FEW_BYTES or not _has_many_containers(encoded))


def escape_unsafe(encoded: bytes) -> bytes:
    """
    JSON without a character that a terminal or pager would act on, each of which becomes an escape.
    """
    if encoded.isascii():
        if encoded.find(DEL) < 0:
            return encoded
    elif not _UNSAFE.search(encoded):
        return encoded
    return b"".join(_UNSAFE.sub(_name_unsafe, part) for part in _parts(encoded))


def _name_unsafe(match: re.Match[bytes]) -> bytes:
    # Inside JSON such bytes can only stand within strings.
    return b"\\u%04x" % ord(match[0].decode())


def _parts(encoded: bytes) -> Iterator[bytes]:
    """UTF-8 in parts that end with whole characters: `sub` holds a hundred bytes for each match until its end."""
    start = 0
    while start < len(encoded):
        end = start + PART_BYTES
        while end < len(encoded) and encoded[end] & 0xC0 == 0x80:  # within a character
            end += 1
        yield encoded[start:end]
        start = end


def freeze(fields: Mapping[str, Any]) -> dict[str, Any]:
    """
    Named fields as the plain values that `encode_object` writes for them, which nobody else holds. Never raises.
    """
    try:
        plain: dict[str, Any] = json.loads(encode_object(fields))  # unlike the fast decoder, takes lone surrogates
    except Exception as error:
        return {"format_error": cut_text(safe_repr(error), 200)}
    return plain


def encode_text(text: str, max_bytes: int = 0) -> bytes:
    """
    Encode a text as a JSON string. Never raises.

    Args:
        text: Any text, lone surrogates included: they are escaped, so that reading gives them back.

        max_bytes: The most that the result may have, quotes included; a longer text is cut as `cut_text` does.
    """
    if max_bytes and len(text) > max_bytes:
        return _encode_head(text, max_bytes)
    try:
        encoded = encode_fast(text)
    except Exception:
        encoded = json.dumps(str.__str__(text)).encode("ascii")
    encoded = escape_unsafe(encoded)
    if max_bytes and len(encoded) > max_bytes:
        return _encode_head(text, max_bytes)
    return encoded


def _encode(value: object) -> bytes:
    try:
        encoded = encode_fast(value)
    except Exception:
        return _encode_plain(value)
    # Not-a-number comes out as null, like None; only the values themselves can tell.
    if encoded.find(b"null") >= 0 and _may_lose_a_number(value, MAX_DEPTH):
        return _encode_plain(value)
    if _has_many_containers(encoded) and _is_too_deep(value, MAX_DEPTH):
        return _encode_plain(value)
    return encoded


def _has_many_containers(encoded: bytes) -> bool:
    """Whether there are so many containers that they may be too deep in one another; each has an opening bracket."""
    return encoded.count(b"{") + encoded.count(b"[") > MAX_DEPTH


def _substitute(value: Any) -> Any:
    """What the fast encoder shall take for a type that it doesn't know."""
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)  # a mapping's key: as values the fast encoder knows them
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if _is_path(value):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if _is_sequence(value):
        return list(value)
    return safe_repr(value)


def _is_sequence(value: object) -> bool:
    """Whether it is written as a list."""
    return isinstance(value, _SEQUENCES) and not (isinstance(value, range) and bool(value[MAX_RANGE:]))


def _is_path(value: object) -> bool:
    """Whether it is one of `pathlib`'s, which nobody has who has not loaded that."""
    return isinstance(value, getattr(sys.modules.get("pathlib"), "PurePath", ()))


encode_fast = msgspec.json.Encoder(enc_hook=_substitute).encode


def _is_long(value: Any, max_length: int, depth: int) -> bool:
    """Whether a value is, or holds, a text or bytes longer than that."""
    kind = value.__class__
    if kind is str or kind is bytes:
        return len(value) > max_length
    if depth and (kind is dict or kind is list):
        return any(_is_long(item, max_length, depth - 1) for item in (value.values() if kind is dict else value))
    return False


def _may_lose_a_number(value: Any, depth: int) -> bool:
    """Whether a value holds a float that JSON lacks, or something that can't be looked into."""
    kind = value.__class__
    if kind in _PLAIN_TYPES:
        return False
    if kind is float:
        return not math.isfinite(value)
    if depth == 0:
        return True
    if kind is dict or kind is list or kind is tuple:
        for item in value.values() if kind is dict else value:
            if item.__class__ not in _PLAIN_TYPES and _may_lose_a_number(item, depth - 1):
                return True
        return False
    return True


def _is_too_deep(value: object, depth: int) -> bool:
    if value.__class__ in _PLAIN_TYPES or value.__class__ is float:
        return False
    if depth == 0:
        return True
    if value.__class__ is dict:
        return any(_is_too_deep(item, depth - 1) for item in value.values())
    if value.__class__ is list or value.__class__ is tuple:
        return any(_is_too_deep(item, depth - 1) for item in value)
    # A tree of objects: the safe encoder counts as it goes.
    return isinstance(value, (Mapping, msgspec.Struct, *_SEQUENCES)) or hasattr(type(value), _DATACLASS_MARK)


def _encode_plain(value: object, max_chars: int = 0, max_values: int = 0) -> bytes:
    """The second rung: make plain values first, one by one, then encode them with everything beyond ASCII escaped."""
    plain = _Plainer(max_chars, max_values).convert_whole(value)
    text = json.dumps(plain, ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":"))
    return text.encode("ascii")


def _encode_failure(error: Exception) -> bytes:
    """The last rung: nothing of the fields, but that there were some."""
    try:
        return json.dumps({"format_error": cut_text(safe_repr(error), 200)}).encode("ascii")
    except Exception:
        return b'{"format_error":"unknown"}'


class _TooManyValuesError(Exception):
    """There are more values than could fit, however short they are."""


class _Plainer:
    """
    Converts any value to what JSON has, with placeholders where that is impossible.

    Args:
        max_chars: The length at which texts are cut; 0 means never.

        max_values: How many values are converted before `_TooManyValuesError`; 0 means all.
    """

    def __init__(self, max_chars: int = 0, max_values: int = 0) -> None:
        self._max_chars = max_chars
        self._left = max_values or -1  # counting down from -1, zero is never met
        self._path: set[int] = set()  # the containers that the walk is in, to see cycles

    def convert_whole(self, value: Any) -> Any:
        """Convert the outermost value; a placeholder for all of it would be no object any more, so it may raise."""
        return self._convert(value)

    def convert(self, value: Any) -> Any:
        """Convert a value within another."""
        self._left -= 1
        if not self._left:
            raise _TooManyValuesError
        try:
            return self._convert(value)
        except _TooManyValuesError:
            raise
        except Exception:
            return f"<unprintable {type(value).__name__} object>"

    def _convert(self, value: Any) -> Any:
        if value is None or value is True or value is False:
            return value
        if isinstance(value, str):
            return self._cut(str.__str__(value))
        if isinstance(value, Enum):
            return self.convert(value.value)
        if isinstance(value, int):
            number = int.__int__(value)
            return number if number.bit_length() <= MAX_INTEGER_BITS else self._cut(hex(number))
        if isinstance(value, float):
            return _name_number(float.__float__(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._encode_bytes(bytes(value))
        if isinstance(value, _MSGSPEC_TEXTS):
            return msgspec.to_builtins(value)
        if _is_path(value):
            return self._cut(str(value))
        return self._convert_container(value)

    def _convert_container(self, value: Any) -> Any:
        fields = _named_fields(value)
        if fields is None and not _is_sequence(value):
            return self._cut(safe_repr(value))
        if id(value) in self._path:
            return f"<cycle: {type(value).__name__}>"
        if len(self._path) >= MAX_DEPTH:
            return f"<nested too deeply: {type(value).__name__}>"
        self._path.add(id(value))
        try:
            if fields is None:
                return [self.convert(item) for item in value]
            return {self._name_key(key): self.convert(item) for key, item in fields.items()}
        finally:
            self._path.discard(id(value))

    def _name_key(self, key: Any) -> str:
        if key.__class__ is str:
            return self._cut(key)
        plain = self.convert(key)
        if isinstance(plain, str):
            return plain
        # A tuple's text, not JSON's: the key was one value.
        if plain is None or isinstance(plain, (bool, int, float)):
            return json.dumps(plain)
        return self._cut(safe_repr(key))

    def _cut(self, text: str) -> str:
        return cut_text(text, self._max_chars) if self._max_chars else text

    def _encode_bytes(self, content: bytes) -> str:
        if self._max_chars and len(content) > self._max_chars:
            head = b2a_base64(content[: self._max_chars * 3 // 4], newline=False).decode("ascii")
            return f"{head}...[truncated, {len(content)} bytes]"
        return b2a_base64(content, newline=False).decode("ascii")


def _name_number(number: float) -> float | str:
    if math.isfinite(number):
        return number
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def _named_fields(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, type):
        return None
    if hasattr(type(value), _DATACLASS_MARK):
        import dataclasses  # whoever made the class has loaded it

        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    return None


def _encode_cut(fields: Mapping[str, Any], max_bytes: int, encoded: bytes = b"") -> bytes:
    """Encode fields in at most *max_bytes*. *encoded* is their whole encoding, when there is one already."""
    try:
        for share in (2, 8, 64):
            # Objects of very many values are not made of long texts: looking through them would only take time.
            shortened = _encode_plain(fields, max(1, max_bytes // share), max(256, max_bytes // 16))
            if len(shortened) <= max_bytes:
                return shortened
    except _TooManyValuesError:
        pass
    whole = encoded or _encode(fields)
    for share in (2, 8, 64):
        head = encode_text(whole[: max_bytes // share].decode("utf-8", "ignore"))
        marker = b'{"truncated":{"bytes":%d,"head":%b}}' % (len(whole), head)
        if len(marker) <= max_bytes:
            return marker
    return b'{"truncated":{"bytes":%d}}' % len(whole)


def _encode_head(text: str, max_bytes: int) -> bytes:
    """Encode the head of a text in at most *max_bytes*, or as near to that as its marker allows."""
    keep = max(0, min(len(text), max_bytes - 64))  # the marker has less than 64 characters
    while True:
        encoded = encode_text(cut_text(text, keep))
        if len(encoded) <= max_bytes or keep == 0:
            return encoded
        # Escapes take up to six bytes for a character, so try what the head of this text really takes, and less.
        keep = min(keep * max_bytes // len(encoded), keep * 9 // 10)
