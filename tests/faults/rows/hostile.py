"""
Texts, values and ids that are made to do harm.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NoReturn

from faults import count
from faults.programs.hostile import IDS, TEXTS
from faults.row import Run, row
from sessionlog_handlers import read_path
from sessionlog_handlers.reading.sessions import list_sessions

FULL = {"session_level": "full", "linger": 0}
OWN_EVENTS = ("session_start", "session_end", "session_stop")
FORMATS = ("jsonl", "text", "event_line", "pty", "fugue")
# What may not be in a file that somebody looks at: controls but the line's end and the tab, and marks that turn text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u2028-\u202e\u2066-\u2069]")


@row(
    "F20",
    "control characters, line ends, escapes, separators, bidi marks, lone surrogates, invalid UTF-8",
    "one record is one line of valid UTF-8, safe to show; JSON gives the text back",
    broken={"escapes_nothing": "as it is"},
)
def log_hostile_texts(run: Run) -> None:
    """
    Each text in each place of a record, in every line format.
    """
    for name in FORMATS:
        if run.is_decided:
            return
        place = run.place()
        layout = {"layout": "fugue"} if name == "fugue" else {"format": name}
        child = run.run("hostile.texts", place, handler={**FULL, **layout})
        run.made(child.acks.slot(0).accepted, "texts")
        run.check(child.is_complete, f"{name}: the program failed: {child.stderr[-500:]}")
        for path in sorted((place / "logs" / "s").glob("*l*")):
            if path.suffix in (".log", ".jsonl"):
                _check_safe(run, f"{name}: {path.name}", path)
        if name == "jsonl":
            run.judge(name, place / "logs", [child])
            _check_texts(run, place / "logs" / "s" / "session.log")
        else:
            _judge_lines(run, name, place / "logs", 5 * len(TEXTS))


def _check_safe(run: Run, what: str, path: Path) -> None:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        run.problem(f"{what}: {error}")
        return
    found = _UNSAFE.search(text)
    run.check(not found, f"{what}: {found and found[0]!r} as it is")
    run.check(not read_path(path).bad, f"{what}: lines that can't be read")


def _check_texts(run: Run, path: Path) -> None:
    """JSON gives back what was logged."""
    for line in read_path(path):
        number = line.data.get("number")
        if isinstance(number, int):
            text = TEXTS[number // 5]
            given = {
                0: line.msg if line.msg != text.replace("%", "%%") else text,
                1: (line.msg or "").removeprefix("text "),
                2: line.data.get("text"),
                3: line.data.get(f"k{text}"),
                4: line.logger,
            }[number % 5]
            run.check(given == text, f"{text!r} came back as {given!r}")


def _judge_lines(run: Run, what: str, root: Path, accepted: int) -> None:
    """Where the format keeps no numbers, lines are counted: all but those of the session's start and end."""
    info = next(list_sessions([root]))
    logs = sorted(root.rglob("*.jsonl")) if what == "fugue" else [info.log]
    found = sum(line.event not in OWN_EVENTS for log in logs for line in read_path(log))
    run.result.tally.accepted += accepted
    run.result.tally.found += found
    run.result.tally.lost += accepted - found
    run.check(found == accepted, f"{what}: {accepted} records and {found} lines")


@row(
    "F21",
    "hostile session ids: paths, NUL, 300 characters, emoji, `CON`, case, a planted symlink",
    "one directory below the root for each, or `InvalidSessionIdError`",
    broken={"takes_ids_for_paths": "no session for"},
)
def use_hostile_ids(run: Run) -> None:
    """
    A session for each id, below a root that already holds a link out of it.
    """
    place = run.place()
    root = place / "deep" / "er" / "logs"
    root.mkdir(parents=True)
    outside = place / "outside"
    outside.mkdir()
    (root / "planted").symlink_to(outside)
    child = run.run("hostile.ids", place, root=root, events=3, handler=FULL)
    run.made(len([*child.acks.slots()]) + child.acks.notes.get("refused", 0), "ids")
    run.check(child.is_complete, f"the program failed: {child.stderr[-500:]}")
    run.check(child.acks.notes.get("refused") == 4, f"{child.acks.notes.get('refused')} of 4 were refused")
    run.check(not any(outside.iterdir()), "a planted link was followed")
    beside = {name for name in os.listdir(place) if not name.startswith("acks")}
    run.check(beside == {"deep", "outside"}, f"outside of the root: {beside}")
    dropped = sum(child.stats.get("dropped", {}).values())
    run.judge("ids", root, [child], reported=dropped)
    known = {info.id: info.directory for info in list_sessions([root])}
    missing = set(IDS) - set(known) - {"planted"}
    run.check(not missing, f"no session for {sorted(missing)}")
    run.check(len(set(known.values())) == len(known), "two ids share a directory")


@row(
    "F26",
    "values that can't be serialised: cycles, `__str__` raises, NaN, 10^5000, depth",
    "written with a placeholder; strict JSON",
    broken={"gives_up_on_odd_values": "lost"},
)
def log_odd_values(run: Run) -> None:
    """
    Each value as an extra, a field of an event, and an argument.
    """
    place = run.place()
    child = run.run("hostile.values", place, handler=FULL)
    run.made(child.acks.slot(0).accepted, "values")
    run.check(child.is_complete, f"the program failed: {child.stderr[-500:]}")

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON")

    log = place / "logs" / "s" / "session.log"
    for raw in log.read_text("utf-8").splitlines() if log.exists() else ():
        try:
            json.loads(raw, parse_constant=refuse)
        except ValueError as error:
            run.problem(f"{error}: {raw[:100]}")
    content: count.Content = run.judge("values", place / "logs", [child])
    run.check(not content.reported, f"{content.reported} were given up")
