"""
Full queues, slow sinks, failing parts, huge records.
"""

from __future__ import annotations

from faults import count
from faults.child import Fault
from faults.programs import KINDS_MIXED
from faults.row import Run, row

FULL = {"session_level": "full", "linger": 0}
ERRORS = ("ValueError", "SystemExit", "KeyboardInterrupt", "MemoryError", "RecursionError", "GeneratorExit")
MEGABYTE = 1_000_000


@row(
    "F17",
    "a handler, filter or format raises in the listener, `BaseException` too; its thread dies",
    "that record is reported, the thread goes on; a dead one is replaced",
    broken={"dies_of_errors": "lost", "stays_dead": "a dead thread: "},
)
def fail_in_the_listener(run: Run) -> None:
    """
    Every kind of exception comes out of every part that the listener's thread calls.
    """
    place = run.place()
    child = run.run("queue.dead_listener", place, deaths=run.times(20, 3), handler=FULL)
    run.made(child.acks["injected"], "raised in the program")
    run.check(child.is_complete, f"a dead thread: the program failed: {child.stderr[-500:]}")
    run.judge("a dead thread", place / "logs", [child])
    for error in ERRORS[: run.times(len(ERRORS), 2)]:
        if run.is_decided:
            return
        for program, size in (("failing_format", 200), ("failing_handler", 100)):
            place = run.place()
            child = run.run(f"queue.{program}", place, error=error, events=size, handler=FULL)
            run.made(child.acks["injected"], "raised in the program")
            what = f"{error} in {program}"
            run.check(child.is_complete, f"{what}: the program failed: {child.stderr[-500:]}")
            run.check(error in child.stderr, f"{what}: not reported")
            run.judge(what, place / "logs", [child])


@row(
    "F18",
    "the queue is full",
    "what was sent is written or counted, for `shed` and for `wait`; audited rare events are refused last",
    broken={
        "refuses_silently": "lost",
        "loses_the_oldest": "lost",
        "tells_of_no_losses_in_the_log": "the logs tell of 0",
    },
)
def fill_the_queue(run: Run) -> None:
    """
    Four threads log through a queue of 64 to a disk on which each write takes two milliseconds.
    """
    for overflow in ("shed", "wait"):
        if run.is_decided:
            return
        place = run.place()
        settings = {**FULL, "queue_size": 64, "overflow": overflow}
        slow = [{"kind": "slow", "seconds": 0.002}]
        size = run.times(1024, 200)
        child = run.run("queue.mixed", place, threads=4, events=size, handler=settings, calls=slow)
        run.made(child.acks["injected"], "os.write made slow")
        run.check(child.is_complete, f"{overflow}: the program failed: {child.stderr[-500:]}")
        dropped = sum(child.stats.get("dropped", {}).values())
        content = run.judge(overflow, place / "logs", [child])
        told = content.reported
        run.check(told == dropped, f"{overflow}: the logs tell of {told} lost ones, stats of {dropped}")
        run.check((dropped > 0) == (overflow == "shed"), f"{overflow}: {dropped} were refused")
        found = {kind: _found(content, place_of) for place_of, kind in enumerate(KINDS_MIXED)}
        run.check(found["state_change"] <= found["error"], f"{overflow}: errors were refused before others: {found}")


def _found(content: count.Content, kind: int) -> int:
    return sum(len(set(numbers)) for writer, numbers in content.records.items() if writer % len(KINDS_MIXED) == kind)


@row(
    "slow",
    "each write takes 200 ms",
    "99 of 100 logging calls take 1 ms at most",
    broken={"writes_in_the_callers_thread": "the p99 of a call"},
    alone=True,
)
def slow_sink(run: Run) -> None:
    """
    1,000 records a second to a disk on which each write takes 200 ms; the caller must not feel it.
    """
    place = run.place()
    fault = Fault("write", "delay 200000", for_ever=True)
    slow = [] if fault.by_tracer else [{"kind": "slow", "seconds": 0.2, "logs_only": False}]
    child = run.run(
        "queue.slow",
        place,
        fault=fault if fault.by_tracer else None,
        events=run.times(5000, 400),
        calls=slow,
        handler=FULL,
    )
    if not fault.by_tracer:
        run.made(child.acks["injected"], fault.method)
    run.check(child.is_complete, f"the program failed: {child.stderr[-500:]}")
    notes = child.acks.notes
    p99 = notes.get("p99", 1.0)
    run.note(
        f"p50 {notes.get('p50', 1) * 1e6:.0f} µs, p99 {p99 * 1e6:.0f} µs, longest {notes.get('most', 1) * 1e3:.1f} ms"
    )
    run.check(p99 <= 0.001, f"the p99 of a call is {p99 * 1000:.1f} ms")
    run.judge("slow", place / "logs", [child])


@row(
    "F19",
    "a record of 50 MB",
    "cut at 1 MiB with its length and a marker; neighbours unharmed; ≤ 1 s and ≤ 4× memory",
    broken={"cuts_nothing": "the line does not tell the length"},
    alone=True,
)
def log_a_huge_record(run: Run) -> None:
    """
    The huge text is a message, an extra, an event's field, and a terminal's bytes.
    """
    size = 50 * MEGABYTE
    for how in ("message", "extra", "field", "output")[: run.times(4, 2)]:
        place = run.place()
        child = run.run("queue.huge", place, bytes=size, how=how, handler=FULL)
        run.made(1, "50 MB")
        notes = child.acks.notes
        run.check(child.is_complete, f"{how}: the program failed: {child.stderr[-500:]}")
        run.check(notes.get("seconds", 9) <= 1.0, f"{how}: it took {notes.get('seconds', 9):.1f} s")
        peak = notes.get("peak", 0) + size  # the text itself was there before
        run.check(peak <= 4 * size, f"{how}: it took {peak / size:.1f}× its memory")
        run.note(f"{how}: {notes.get('seconds', 0):.2f} s, {peak / size:.1f}× memory")
        raw = (place / "logs" / "s" / "session.log").read_bytes().splitlines()
        longest = max(raw, key=len)
        run.check(len(longest) <= 1.1 * 1024 * 1024, f"{how}: a line of {len(longest):,} bytes")
        run.check(str(size).encode() in longest, f"{how}: the line does not tell the length")
        run.judge(how, place / "logs", [child])
        run.discard(place)
