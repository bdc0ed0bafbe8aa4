"""
The bars: what each part has to reach beside something that was measured in the same run, and whether it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Results = Mapping[str, Mapping[str, Any]]  # topic → its results by Python version
Sense = Literal["≥", "≤", "<"]


@dataclass(frozen=True, slots=True)
class Bar:
    """
    What the median of a figure has to reach.

    Args:
        what: What it is, for people.

        topic: Where it is measured.

        variant, figure: What is judged.

        sense: On which side of the threshold it has to be.

        threshold: A ratio to the base, or without one a value in the figure's own unit.

        base: The variant that it is divided by. (default: none)

        base_figure: That variant's figure. (default: the same)

        unit: Of the value, where there is no base.
    """

    what: str
    topic: str
    variant: str
    figure: str
    sense: Sense
    threshold: float
    base: str = ""
    base_figure: str = ""
    unit: str = ""

    @property
    def wording(self) -> str:
        """The bar for people, such as ``≥ 4 × obvious stack``."""
        if not self.threshold:
            return f"0 {self.unit}"
        return f"{self.sense} {self.threshold:g} {f'× {self.base}' if self.base else self.unit}".rstrip()

    def value(self, results: Results, minor: str) -> float | None:
        """What was measured on that Python, or None if it was not."""
        value = _median(results, self.topic, minor, self.variant, self.figure)
        if not self.base or value is None:
            return value
        base = _median(results, self.topic, minor, self.base, self.base_figure or self.figure)
        return value / base if base else None

    def is_met(self, value: float) -> bool:
        """Whether that value reaches the bar."""
        if self.sense == "≥":
            return value >= self.threshold
        return value < self.threshold if self.sense == "<" else value <= self.threshold

    def missed_by(self, value: float) -> str:
        """By which share of the threshold a value fails to reach it; where that is 0, the value itself."""
        if not self.threshold:
            return f"{value:.3g} {self.unit}"
        return f"{100 * abs(value - self.threshold) / self.threshold:.0f} %"


def _median(results: Results, topic: str, minor: str, variant: str, figure: str) -> float | None:
    try:
        found: float = results[topic][minor]["variants"][variant]["median"][figure]
    except KeyError:
        return None
    return found


INFO, RARE, FULL, OUTPUT = "logger.info", "session.event rare", "session.event full", "session.output"
OBVIOUS, NOTHING, LINES = "obvious stack", "handler that does nothing", "encode_lines"

_TWO_FULL = (("`session.event` full", FULL), ("`session.output`", OUTPUT))
_THREE = (("`logger.info`", INFO), *_TWO_FULL)

CALLER = (
    Bar("`logger.info`, p50 in a burst", "caller", INFO, "burst p50", "≤", 1.3, NOTHING),
    Bar("`logger.info`, p50 paced", "caller", INFO, "paced p50", "≤", 0.45, OBVIOUS),
    *(Bar(f"{what}, p50 in a burst", "caller", name, "burst p50", "≤", 0.125, NOTHING) for what, name in _TWO_FULL),
    Bar("`logger.info`, p99.9 paced", "caller", INFO, "paced p99.9", "≤", 1, OBVIOUS),
    *(Bar(f"{what}, p99.9 paced", "caller", name, "paced p99.9", "≤", 0.4, OBVIOUS) for what, name in _TWO_FULL),
    Bar("`logger.info`, longest call of a burst", "caller", INFO, "long burst longest", "≤", 0.5, OBVIOUS),
    *(
        Bar(f"{what}, longest call of a burst", "caller", name, "long burst longest", "≤", 0.1, OBVIOUS)
        for what, name in _TWO_FULL
    ),
)

DISABLED = (
    Bar("`session.output`, refused by level", "disabled", OUTPUT, "refused call", "≤", 1.5, "empty method, bytes"),
    Bar("`logger.debug`, below the level", "disabled", "logger.debug", "refused call", "≤", 1.1, "stdlib"),
)

THROUGHPUT = (
    Bar("`logger.info`, events/s to the files", "throughput", INFO, "events/s", "≥", 4, OBVIOUS),
    Bar("`logger.info`, events/s to the files", "throughput", INFO, "events/s", "≥", 3, "loguru"),
    Bar("`logger.info` with `json` alone, events/s", "throughput", f"{INFO}, json alone", "events/s", "≥", 3, OBVIOUS),
    Bar("`session.event` rare, events/s to the files", "throughput", RARE, "events/s", "≥", 6, OBVIOUS),
    *(
        Bar(f"{what}, events/s to the files", "throughput", name, "events/s", "≥", threshold, base)
        for what, name in _TWO_FULL
        for threshold, base in ((20, OBVIOUS), (3.5, "structlog"), (0.3, LINES))
    ),
)

_FOUR, _CLH = "4 processes", "concurrent-log-handler"

PROCESSES = (
    Bar("4 processes, `logger.info`, events/s", "processes", INFO, f"{_FOUR}, events/s", "≥", 4, _CLH),
    *(
        Bar(f"4 processes, {what}, events/s", "processes", name, f"{_FOUR}, events/s", "≥", 15, _CLH)
        for what, name in _TWO_FULL
    ),
    *(
        Bar(f"4 processes, {what}, {fault}", "processes", name, f"{_FOUR}, {fault}", "≤", 0, unit=unit)
        for what, name in _THREE
        for fault, unit in (("lost", "events"), ("torn", "lines"))
    ),
)

_MANY, _MOST, _CLH_EACH = "1,000 sessions", "10,000 sessions", "concurrent-log-handler each"
_CAP = 256  # descriptors: what `max_open_files` comes to where the process may have enough of them

SESSIONS = (
    Bar("1,000 sessions, `logger.info`, events/s", "sessions", INFO, f"{_MANY}, events/s", "≥", 2, _CLH_EACH),
    *(
        Bar(f"1,000 sessions, {what}, events/s", "sessions", name, f"{_MANY}, events/s", "≥", 7, _CLH_EACH)
        for what, name in _TWO_FULL
    ),
    *(
        Bar(
            f"{what}, cost at 10,000 sessions over that at 1,000",
            "sessions",
            name,
            "10,000 over 1,000",
            "≤",
            2,
            unit="×",
        )
        for what, name in _THREE
    ),
    *(
        Bar(f"10,000 sessions, {what}, descriptors", "sessions", name, f"{_MOST}, descriptors", "≤", _CAP)
        for what, name in _THREE
    ),
    Bar("memory of an idle session", "sessions", "idle sessions", "idle session", "≤", 2, unit="KiB"),
    Bar(
        "start of a session, until in the files",
        "sessions",
        "start and end",
        "start, in the files",
        "≤",
        200,
        unit="µs",
    ),
)

SHARE = (
    *(
        Bar(f"{what}, CPU at 1,000/s", "share", name, "1,000/s over idle", "<", 1, unit="% of a core")
        for what, name in _THREE
    ),
    Bar("`logger.info`, CPU at 10,000/s", "share", INFO, "10,000/s over idle", "≤", 0.25, OBVIOUS),
    *(
        Bar(f"{what}, CPU at 10,000/s", "share", name, "10,000/s over idle", "≤", 0.06, OBVIOUS)
        for what, name in _TWO_FULL
    ),
    Bar("wake-ups of an idle process", "share", "open session, idle", "wake-ups when idle", "≤", 0, unit="/s"),
)

OTHERS = (
    *(Bar(f"{what}, memory in a burst", "memory", name, "MB in burst", "≤", 0.45, OBVIOUS) for what, name in _THREE),
    Bar("import, over `import logging`", "startup", "import of ours", "import", "≤", 25, unit="ms"),
)

BARS = (*CALLER, *DISABLED, *THROUGHPUT, *PROCESSES, *SESSIONS, *SHARE, *OTHERS)


@dataclass(frozen=True, slots=True)
class Highlight:
    """
    A row of the table that says it all: one figure of ours beside the obvious stack's.

    Args:
        what: What it is, for people.

        topic: Where it is measured.

        figure: What is compared.

        ours: The variant of ours.

        base: That of the obvious stack, or of what is in its place where that can't do it.
    """

    what: str
    topic: str
    figure: str
    ours: str
    base: str = OBVIOUS


HIGHLIGHTS = (
    Highlight("`logger.info`: the caller's time, ns", "caller", "burst p50", INFO),
    Highlight("`session.output`: the caller's time, ns", "caller", "burst p50", OUTPUT),
    Highlight("`logger.info`: events/s to the files", "throughput", "events/s", INFO),
    Highlight("`session.event`: events/s to the files", "throughput", "events/s", FULL),
    Highlight("4 processes, one rotating log: `logger.info`, events/s", "processes", f"{_FOUR}, events/s", INFO, _CLH),
    Highlight("1,000 logs: `logger.info`, events/s", "sessions", f"{_MANY}, events/s", INFO, _CLH_EACH),
    Highlight("memory for 200,000 `logger.info` in a burst, MB", "memory", "MB in burst", INFO),
)
