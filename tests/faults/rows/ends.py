"""
Ends of all kinds, event loops, and very many sessions.
"""

from __future__ import annotations

import signal
import time

from faults import count
from faults.row import Run, row

FULL = {"session_level": "full", "linger": 0.01}
MOST_SECONDS = 2.0  # that an end may take
LOOP_LIMIT = 0.005  # seconds that a call may hold up an event loop

# How a program ends, with the signal that it is sent, and the reason that its log gives.
ENDS: dict[str, tuple[signal.Signals | None, str]] = {
    "return": (None, "exit"),
    "exception": (None, "exception ValueError"),
    "exit 3": (None, "exit"),  # Python tells nobody of the code but the `with` blocks that it passes
    "with return": (None, "return"),
    "with exception": (None, "exception ValueError"),
    "with exit 3": (None, "exit 3"),
    "with signal SIGINT": (signal.SIGINT, "signal SIGINT"),
    "signal SIGINT": (signal.SIGINT, "signal SIGINT"),
    "captured signal SIGTERM": (signal.SIGTERM, "signal SIGTERM"),
    "captured signal SIGHUP": (signal.SIGHUP, "signal SIGHUP"),
    "own handler, captured signal SIGTERM": (signal.SIGTERM, "signal SIGTERM"),
    "atexit": (None, "exit"),
    "daemon threads": (None, "exit"),
}
# Where no code can run, only what was waited for is promised.
SUDDEN: dict[str, signal.Signals | None] = {
    "os._exit": None,
    "signal SIGKILL": signal.SIGKILL,
    "signal SIGTERM": signal.SIGTERM,
}


@row(
    "F23",
    "return, exceptions, sys.exit, signals, atexit, daemon threads; os._exit and SIGKILL",
    "the queue is written, `session_end` says why, the end takes 2 s at most",
    broken={"ends_at_once": "the reason is []", "knows_no_reason": "the reason is ['end']"},
)
def end_in_every_way(run: Run) -> None:
    """
    A program with a full queue ends in each way.
    """
    for how, (number, reason) in ENDS.items():
        if run.is_decided:
            return
        _end(run, how, number, reason)
    for how, number in list(SUDDEN.items())[: run.times(len(SUDDEN), 1)]:
        _end(run, how, number, "")


def _end(run: Run, how: str, number: signal.Signals | None, reason: str) -> None:
    place = run.place()
    events = run.times(20_000, 2_000)
    flush_every = 0 if reason else 1000
    child = run.start("ends.end", place, how=how, events=events, flush_every=flush_every, handler=FULL).go()
    child.wait_done(1)
    start = time.monotonic()
    if number is not None:
        child.process.send_signal(number)
    child.end()
    took = time.monotonic() - start
    run.made(1, "real programs")
    run.check(took <= MOST_SECONDS, f"{how}: the end took {took:.1f} s")
    promise: count.Promise = "accepted" if reason else "acknowledged"
    dropped = sum(child.stats.get("dropped", {}).values()) if reason else 0
    content = run.judge(how, place / "logs", [child], promise=promise, reported=dropped, torn=0 if reason else 1)
    run.check(set(child.stats.get("dropped", {})) <= {"late"}, f"{how}: lost before the end: {child.stats}")
    # What comes after the end has no log any more that could tell of it.
    run.check(not content.reported, f"{how}: the log tells of {content.reported}, stats of none before the end")
    if reason:
        lines = count.read(place / "logs", keep_lines=True).lines
        ends = [line.data.get("reason") for line in lines if line.event == "session_end"]
        run.check(ends == [reason], f"{how}: the reason is {ends}, not {reason!r}")
    run.check(not content.unreadable, f"{how}: {content.unreadable}")
    run.discard(place)


@row(
    "F24",
    "tasks cancelled in the midst of logging, a closed loop, a slow disk and a full queue",
    "nothing lost silently, every `CancelledError` arrives, the loop is never held up for 5 ms",
    broken={"waits_in_loops": "held up the loop", "swallows_cancellation": "were cancelled"},
    alone=True,
)
def cancel_tasks(run: Run) -> None:
    """
    20 tasks log through a small queue to a slow disk and are cancelled one after the other.
    """
    for settings in ({"queue_size": 256, "overflow": "wait"}, {"audit_durability": "sync", "audit_on_error": "raise"}):
        if run.is_decided:
            return
        place = run.place()
        tasks = run.times(20, 5)
        slow = [{"kind": "slow", "seconds": 0.02}]
        options = {"tasks": tasks, "pause": 0.05, "limit": LOOP_LIMIT, "calls": slow}
        child = run.run("ends.loop", place, handler={**FULL, **settings}, **options)
        what = f"{settings}"
        run.check(child.is_complete, f"{what}: the program failed: {child.stderr[-500:]}")
        notes = child.acks.notes
        run.made(notes.get("cancelled", 0), "cancel")
        run.check(notes.get("cancelled") == tasks, f"{what}: {notes.get('cancelled')} of {tasks} were cancelled")
        calls, p99, most = (notes.get(name, 0) for name in ("calls", "p99", "most"))
        run.note(f"{calls:,} calls, p99 {p99 * 1e6:.0f} µs, longest {most * 1e3:.1f} ms")
        # A machine that is busy with something else may hold up any call: one of a thousand is not ours.
        slow_calls = notes.get("slow", calls)
        run.check(slow_calls <= calls / 1000, f"{what}: {slow_calls} of {calls} calls held up the loop for 5 ms")
        dropped = sum(child.stats.get("dropped", {}).values())
        content = run.judge(what, place / "logs", [child], reported=dropped)
        run.check(content.reported == dropped, f"{what}: the log tells of {content.reported}, stats of {dropped}")


@row(
    "F27",
    "10,000 sessions open",
    "descriptors ≤ the cap + 10; an idle session costs no thread; closing gives all back",
    broken={"keeps_every_file_open": "descriptors were open"},
    alone=True,
)
def open_many_sessions(run: Run) -> None:
    """
    10,000 sessions, two records each.
    """
    place = run.place()
    number = run.times(10_000, 600)
    handler = {**FULL, "overflow": "wait"}
    child = run.run("many.sessions", place, sessions=number, handler=handler)
    run.check(child.is_complete, f"the program failed: {child.stderr[-500:]}")
    notes = child.acks.notes
    used = notes.get("most", 10**6) - notes.get("before", 0)
    run.note(f"{used} descriptors, {notes.get('threads')} threads")
    run.check(used <= notes.get("cap", 0) + 10, f"{used} descriptors were open, the cap is {notes.get('cap')}")
    run.check(notes.get("threads", 99) <= 6, f"{notes.get('threads')} threads for {number} sessions")
    run.check(notes.get("after", 99) <= notes.get("before", 0), f"{notes.get('after')} descriptors are left")
    run.check(notes.get("threads_after", 99) == 1, f"{notes.get('threads_after')} threads are left")
    content = count.read(place / "logs")
    run.made(len(content.places), "sessions")
    content.records = {writer: sorted(numbers) for writer, numbers in content.records.items()}  # over all sessions
    content.audited = {writer: sorted(numbers) for writer, numbers in content.audited.items()}
    tally = count.tally(content, child.acks.slots())
    run.result.tally.add(tally)
    for wrong in tally.faults():
        run.problem(wrong)
