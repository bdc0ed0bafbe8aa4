"""
JSON Lines of other programs: read with the best guess at what their keys mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from sessionlog_handlers.events import ORDINARY_RECORD
from sessionlog_handlers.exceptions import InvalidLineError
from sessionlog_handlers.formats.jsonl import JsonLinesFormat
from sessionlog_handlers.formats.line import Line
from sessionlog_handlers.formats.payload import decode_line
from sessionlog_handlers.formats.timestamps import parse_timestamp
from sessionlog_handlers.levels import SEVERITIES, severity_name

_TIME_KEYS = ("ts", "timestamp", "time", "@timestamp", "asctime", "datetime", "t")
_LEVEL_KEYS = ("level", "levelname", "severity", "log.level", "lvl")
_MESSAGE_KEYS = ("msg", "message", "event", "text")
_LOGGER_KEYS = ("logger", "name", "logger_name", "log.logger")
_SESSION_KEYS = ("session", "session_id")
_LEVEL_WORDS = {
    "trace": "debug",
    "notice": "info",
    "warn": "warning",
    "err": "error",
    "fatal": "critical",
    "panic": "critical",
}
_MILLISECONDS_FROM = 1e11  # as seconds, that is the year 5138

_decoder = msgspec.json.Decoder(dict[str, Any])


class ForeignJsonFormat(JsonLinesFormat):
    """
    Any JSON object on a line. Time, severity, message and logger are taken from the usual keys, and `Line.data` has
    everything, as it is. A line of our own format is read as such.
    """

    name: ClassVar[str] = "json"

    def parse(self, raw: bytes, lineno: int = 0) -> Line:
        """
        Read one line, with or without its line end. A line without a readable time has the time 0.

        Raises:
            InvalidLineError: If it is no JSON object.
        """
        try:
            return super().parse(raw, lineno)
        except InvalidLineError:
            fields = decode_line(_decoder, raw, lineno)
        return Line(
            ts=_find_time(fields),
            level=_find_level(fields),
            session=_find_text(fields, _SESSION_KEYS) or "",
            event=ORDINARY_RECORD,
            data=fields,
            msg=_find_text(fields, _MESSAGE_KEYS),
            logger=_find_text(fields, _LOGGER_KEYS),
        )


def _find_text(fields: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((fields[key] for key in keys if isinstance(fields.get(key), str)), None)


def _find_time(fields: Mapping[str, Any]) -> float:
    for key in _TIME_KEYS:
        value = fields.get(key)
        if isinstance(value, bool):
            continue
        if isinstance(value, (int, float)):
            return float(value) / 1000 if abs(value) > _MILLISECONDS_FROM else float(value)
        if isinstance(value, str):
            for text in (value, value + "Z"):  # a time without an offset is taken as UTC
                try:
                    return parse_timestamp(text)
                except ValueError:
                    continue
    return 0.0


def _find_level(fields: Mapping[str, Any]) -> str:
    for key in _LEVEL_KEYS:
        value = fields.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return severity_name(value)
        if isinstance(value, str):
            word = value.lower()
            word = _LEVEL_WORDS.get(word, word)
            if word in SEVERITIES:
                return word
    return "info"
