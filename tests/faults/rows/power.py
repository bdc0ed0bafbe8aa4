"""
Loss of power: what survives is a prefix, and what was called durable is in it.
"""

from __future__ import annotations

import random
import time
from collections import deque

from faults import count, disks
from faults.child import Child
from faults.row import Run, row

SETTINGS = {"session_level": "full", "linger": 0.01, "max_bytes": "64 KB", "backup_count": 500}
DURABLE_WITHIN = 1.0  # seconds
FILES = 3  # of a session; each may have a torn end
WEAKER = "order of write, sync and acknowledgement"


@row(
    "F3",
    "power loss, default settings",
    "what survives is a prefix; audited rare events are there within a second",
    broken={"syncs_nothing": "lost"},
)
def lose_power(run: Run) -> None:
    """
    One thread logs audited rare events, one ordinary records; the disk loses its power, and the harness looks what is
    on it.
    """
    if not disks.can_cut_power():
        check_order(run, {"event": "error", "pause": 0.002, "flush_every": 5, "durable": True})
        return
    chance = random.Random(3)
    for number in range(run.times(8, 2)):
        place = run.place()
        with disks.Powered(place) as disk:
            root = disk.path / "logs"
            child = run.start("power.mixed", place, root=root, events=10**9, pause=0.002, handler=SETTINGS).go()
            seen = _watch(child, 1.5 + chance.uniform(0.0, 1.0))
            now = time.monotonic()
            disk.cut_power(disks.NO_LOG_FLUSH if number % 2 else disks.LOG_FLUSH)
            child.kill()
            disk.restore()
            run.made(1, "EXT4_IOC_SHUTDOWN")
            before = max((accepted for at, accepted in seen if at <= now - DURABLE_WITHIN), default=0)
            child.acks.acknowledge(0, before)
            _judge(run, f"loss {number + 1}", child)
        run.discard(place)


def _watch(child: Child, seconds: float) -> deque[tuple[float, int]]:
    """How many audited events were accepted, and when."""
    seen: deque[tuple[float, int]] = deque()
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        seen.append((now, child.acks.slot(0).accepted))
        time.sleep(0.01)
    return seen


def _judge(run: Run, what: str, child: Child) -> None:
    content = run.judge(what, child.root, [child], promise="acknowledged", reported=0, torn=FILES)
    missing = count.holes(content)
    run.check(not missing, f"{what}: {missing} records are missing before later ones")


@row(
    "F4",
    "power loss, durable events",
    "all that `flush(durable=True)` or the sync mode acknowledged survives",
    broken={"syncs_nothing": "lost", "says_flushed_at_once": "lost"},
)
def lose_power_when_durable(run: Run) -> None:
    """
    Records of loggers are waited for by a durable flush, audited events in the sync mode; then there is no power.
    """
    flushed = {"program": "plain.records", "flush_every": 3, "durable": True, "levels": [20]}
    waited = {"program": "plain.events", "event": "error", "waits": True}
    if not disks.can_cut_power():
        check_order(run, flushed)
        check_order(run, {**waited, "handler": {"audit_durability": "sync", "audit_on_error": "raise"}})
        return
    chance = random.Random(4)
    for number in range(run.times(12, 2)):
        place = run.place()
        options = dict(waited if number % 2 else flushed)
        settings = {**SETTINGS, "max_bytes": "8 KB"}
        if number % 2:
            settings |= {"audit_durability": "sync", "audit_on_error": "raise"}
        with disks.Powered(place) as disk:
            program = str(options.pop("program"))
            child = run.start(program, place, root=disk.path / "logs", events=10**9, handler=settings, **options).go()
            child.wait(lambda child=child: child.acks.slot(0).acknowledged > 0)
            time.sleep(chance.uniform(0.05, 0.4))
            disk.cut_power()
            child.kill()
            disk.restore()
            run.made(1, "EXT4_IOC_SHUTDOWN")
            _judge(run, f"loss {number + 1}", child)
        run.discard(place)


def check_order(run: Run, options: dict[str, object]) -> None:
    """The weaker way: what is written must be synced before it is acknowledged."""
    options = dict(options)
    options.pop("program", None)
    handler = {**SETTINGS, "max_bytes": "8 KB", **options.pop("handler", {})}  # type: ignore[dict-item]
    place = run.place()
    child = run.run(
        "power.ordered", place, events=run.times(300, 40), calls=[{"kind": "order"}], handler=handler, **options
    )
    run.made(child.acks.slot(0).acknowledged, WEAKER)
    run.check(child.is_complete, f"the program failed: {child.stderr[-300:]}")
    for text in child.acks.notes.get("unsynced", []):
        run.problem(f"acknowledged and not synced: {text}")
    run.judge("in order", place / "logs", [child], promise="acknowledged", reported=0)
