"""
The fault harness finds what it looks for: planted losses, sudden deaths, broken handlers. `make faults` runs its rows.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace

import pytest

from faults import broken, count, disks, report, rows, strace
from faults.__main__ import in_order, is_found_out
from faults.acks import Acks, session_number
from faults.child import Fault
from faults.row import ROWS, Result, Row, Run
from faults.rows import power

EVENTS = 20
TOLD_OF_LINES = (
    b'{"ts":"2026-01-08T12:34:56.789Z","level":"warning","session":"s",'
    b'"event":"log_dropped","data":{"reason":"line","count":%d},"seq":99}\n'
)
TOLD_OF_TWO = b'"event":"log_dropped","data":{"reason":"error","count":2},"seq":99}\n'

assert rows.__path__  # imported for its rows


@pytest.fixture
def make_run(tmp_path):
    """
    Makes runs whose children are ended after the test.
    """
    made = []

    def make(function=lambda run: None, **options) -> Run:
        made.append(Run(Row("T", "a test", "", function, {}), home=tmp_path, **options))
        return made[-1]

    yield make
    for run in made:
        run.close()


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """
    A root with a session of 20 records, and what was promised for them.
    """
    run = Run(Row("T", "a test", "", lambda run: None, {}), home=tmp_path_factory.mktemp("home"))
    child = run.run("plain.events", run.place(), events=EVENTS, handler={"session_level": "full"})
    assert child.is_complete, child.stderr
    yield child.root, [*child.acks.slots()]
    run.close()


@pytest.fixture
def spoil(logged, tmp_path):
    """
    Gives a function that changes the log's lines and counts.
    """
    root, slots = logged

    def spoil(change) -> count.Tally:
        shutil.copytree(root, tmp_path / "logs")
        log = tmp_path / "logs" / "s" / "session.log"
        lines = log.read_bytes().splitlines(keepends=True)
        change(lines)
        log.write_bytes(b"".join(lines))
        return count.tally(count.read(tmp_path / "logs"), slots)

    return spoil


class TestCount:
    def test_whole_log(self, spoil):
        """
        In a log that nobody spoilt, each record is found, and nothing is wrong.
        """
        tally = spoil(lambda lines: None)
        assert (tally.accepted, tally.found, tally.faults()) == (EVENTS, EVENTS, [])

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda lines: lines.pop(5), ["1 lost"]),
            (lambda lines: lines.insert(9, lines[5]), ["1 duplicated", "1 disordered"]),
            (lambda lines: lines.insert(6, lines[5]), ["1 duplicated"]),
            (lambda lines: lines.append(lines[5][:40]), ["1 torn"]),
            (lambda lines: lines.insert(5, lines[5][40:]), ["1 torn"]),
            (lambda lines: lines.insert(5, lines[5][:40]), ["1 lost", "1 joined"]),
            (lambda lines: lines.insert(5, lines.pop(6)), ["1 disordered"]),
            (lambda lines: lines.append(re.sub(rb'"number":\d+', b'"number":99', lines[5])), ["1 ghosts"]),
            (
                lambda lines: lines.append(re.sub(rb'"event":.*', TOLD_OF_TWO, lines[5])),
                ["2 overtold"],
            ),
        ],
        ids=["loss", "again later", "again", "tail", "head", "joined", "order", "ghost", "told and found"],
    )
    def test_planted_fault(self, spoil, change, expected):
        """
        Each thing that may go wrong with a line is told by its name, and nothing else is.
        """
        assert spoil(change).faults() == expected

    def test_planted_loss_beside_a_false_report(self, logged, tmp_path):
        """
        A record that was told of as lost and is there hides no loss in another session.
        """
        root, (slot,) = logged
        shutil.copytree(root, tmp_path / "logs")
        content = count.read(tmp_path / "logs")
        other = replace(slot, writer=1, session=session_number("other"))
        content.records[1] = content.records[0][:-1]
        content.places[other.session] = count.Place()
        content.places[slot.session].reported = content.reported = 1
        tally = count.tally(content, [slot, other])
        assert (tally.lost, tally.overtold) == (1, 1)

    @pytest.mark.parametrize(("told", "expected"), [(0, ["2 unaudited"]), (1, ["1 unaudited"]), (2, [])])
    def test_planted_fault_in_audit_file(self, logged, tmp_path, told, expected):
        """
        An audit line is missing if the log has its twin, and nobody told of it.
        """
        root, slots = logged
        shutil.copytree(root, tmp_path / "logs")
        audit = tmp_path / "logs" / "s" / "audit_system.log"
        lines = audit.read_bytes().splitlines(keepends=True)
        audit.write_bytes(b"".join(line for line in lines if not re.search(rb'"number":[12],', line)))
        if told:
            with open(tmp_path / "logs" / "s" / "session.log", "ab") as log:
                log.write(TOLD_OF_LINES % told)
        assert count.tally(count.read(tmp_path / "logs"), slots).faults() == expected

    def test_unread_files(self, logged, tmp_path):
        """
        An archive beside its plain file and half-made files are noticed.
        """
        shutil.copytree(logged[0], tmp_path / "logs")
        directory = tmp_path / "logs" / "s"
        half_made = (".session.log.1.0123456789ab.tmp", ".metadata.json.0123456789ab.tmp")
        for name in ("session.log.1", "session.log.1.gz", *half_made):
            (directory / name).write_bytes(b"")
        content = count.read(tmp_path / "logs")
        assert content.orphans[0] == str(directory / "session.log.1.gz")
        assert {os.path.basename(name) for name in content.orphans[1:]} == set(half_made)

    def test_holes(self):
        """
        Records that are missing before later ones are no prefix.
        """
        assert count.holes(count.Content(records={0: [0, 1, 2], 1: [0, 3]})) == 2


class TestAcks:
    def test_survive_sudden_death(self, make_run):
        """
        After a kill, the page holds what the program was promised, and all of that is in its files.
        """
        run = make_run()
        place = run.place()
        child = run.start("plain.events", place, events=10**9, flush_every=5, handler={"session_level": "full"}).go()
        child.wait(lambda: child.acks.slot(0).acknowledged >= 50)
        child.kill()
        again = Acks(child.acks.path).slot(0)
        assert child.is_killed
        assert 50 <= again.acknowledged <= again.accepted <= again.attempted
        assert run.judge("kill", place / "logs", [child], promise="acknowledged", torn=1)
        assert run.result.problems == []

    def test_notes_add_up(self, tmp_path):
        """
        Notes stay when others come, and numbers are apart from them.
        """
        acks = Acks(tmp_path / "page", base=7)
        acks.note(a=1)
        acks.note(b=[2])
        acks.attempt(3, 5)
        assert Acks(tmp_path / "page").notes == {"a": 1, "b": [2]}
        assert [(slot.writer, slot.attempted) for slot in acks.slots()] == [(10, 5)]


class TestFaults:
    @pytest.fixture(params=["strace", "calls"])
    def method(self, request, monkeypatch):
        """
        Both ways to make a fault.
        """
        if request.param == "strace":
            if not strace.is_possible():
                pytest.skip("needs strace, and the right to trace")
        else:
            monkeypatch.setattr(strace, "is_possible", lambda: False)

    def test_death_at_a_call(self, make_run, method):
        """
        The program dies at the call that was named, and not if there are not so many.
        """
        run = make_run()
        for when, dies in ((2, True), (10_000, False)):
            child = run.run("plain.events", run.place(), fault=Fault("rename", "KILL", when), events=3)
            assert (child.is_killed, child.faults_made) == (dies, int(dies))
            assert child.is_complete != dies

    def test_error_at_a_call(self, make_run, method):
        """
        The call that was named fails, once or from there on, and the program goes on.
        """
        run = make_run()
        made = {}
        for for_ever in (False, True):
            fault = Fault("fdatasync", "EIO", 1, for_ever, "sessionlog-sync")
            child = run.run(
                "plain.events", run.place(), fault=fault, event="error", flush_every=2, durable=True, events=8
            )
            assert child.is_complete
            assert "could not be synced" in child.stderr
            made[for_ever] = child.faults_made
        assert made[False] == 1
        assert made[True] > 3

    def test_program_that_hangs(self, make_run):
        """
        A program that takes too long is ended, and its threads' tracebacks are the problem.
        """

        def hang(run: Run) -> None:
            run.start("plain.rounds", run.place(), rounds=5).go().end(0.3)

        result = make_run(hang).carry_out()
        assert not result.passed
        assert "wait_for" in result.problems[0]

    @pytest.mark.root
    @pytest.mark.needs_program("mkfs.ext4")
    def test_loss_of_power(self, tmp_path):
        """
        What was synced before the power went is there when it comes back, and what was not is gone.
        """
        if not disks.can_cut_power():
            pytest.skip("needs loop mounts")
        with disks.Powered(tmp_path) as disk:
            for name in ("synced", "written"):
                with open(disk.path / name, "wb") as file:
                    file.write(b"x" * 1000)
                    file.flush()
                    if name == "synced":
                        os.fsync(file.fileno())
            disk.cut_power()
            disk.restore()
            assert (disk.path / "synced").read_bytes() == b"x" * 1000
            written = disk.path / "written"
            assert not written.exists() or not written.read_bytes().strip(b"\0")
        assert not os.path.ismount(disk.path)

    def test_order_of_syncing(self, make_run):
        """
        Where no power can be cut, an acknowledgement without a sync before it is found by the calls' order.
        """
        options = {"event": "error", "flush_every": 2, "durable": True}
        for name, found in (("", False), ("says_flushed_at_once", True), ("syncs_nothing", True)):
            run = make_run(lambda run: power.check_order(run, options), quick=True, broken=name)
            assert bool(run.carry_out().problems) == found


class TestRows:
    @pytest.mark.parametrize("name", ["F14", "F22"])
    def test_quick_run(self, tmp_path, name):
        """
        A row with few faults passes, and counts what was logged.
        """
        result = Run(ROWS[name], quick=True, home=tmp_path).carry_out()
        assert result.problems == []
        assert result.passed
        assert result.tally.found > 50

    @pytest.mark.parametrize(("name", "handler"), [("F1", "joins_torn_lines"), ("F14", "overwrites_old_files")])
    def test_finds_a_broken_handler(self, tmp_path, name, handler):
        """
        A row fails with a handler that is broken where it looks.
        """
        result = Run(ROWS[name], quick=True, broken=handler, home=tmp_path).carry_out()
        assert is_found_out(result, handler)

    def test_program_that_can_not_begin(self, make_run):
        """
        A program that fails before it logs anything finds nothing out.
        """

        def fail(run: Run) -> None:
            run.made(1, "a test")
            run.run("plain.no_such_program", run.place())

        result = make_run(fail).carry_out()
        assert not result.passed
        result.row = "F1"
        assert not any(is_found_out(result, name) for name in ROWS["F1"].broken)

    def test_other_problem(self):
        """
        A broken handler is not found out by a problem that has nothing to do with it.
        """
        for problem, found in (("2 joined", True), ("the program failed", False)):
            result = Result("F1", "", faults=1, problems=[problem])
            assert is_found_out(result, "joins_torn_lines") == found

    def test_every_row_has_broken_handlers(self):
        """
        For each row there is a broken handler that it must find out, and each one is used.
        """
        used = [name for row in ROWS.values() for name in row.broken]
        assert all(row.broken and all(row.broken.values()) for row in ROWS.values())
        assert set(used) == set(broken.BROKEN)

    def test_row_without_a_fault(self, make_run):
        """
        A row that made no fault has shown nothing, and does not pass.
        """
        assert not make_run().carry_out().passed

    def test_exceptions_are_problems(self, make_run):
        """
        What goes wrong in a row itself is told, and fails it.
        """

        def fail(run: Run) -> None:
            run.made(1, "a test")
            raise OSError("no such disk")

        result = make_run(fail).carry_out()
        assert result.problems == ["OSError: no such disk"]


class TestPage:
    def test_has_every_row(self):
        """
        The documentation's table is that of the last whole run, and has each row of the harness.
        """
        results = report.load()
        assert [each["row"] for each in results["rows"]] == in_order()
        assert [each["row"] for each in results["rows"] if not each["passed"]] == []
        page = report.PAGE.read_text("utf-8")
        assert report.block(results, "") in page
        assert report.block(results, "machine") in page
