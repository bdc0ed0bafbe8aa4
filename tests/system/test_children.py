"""
Children of `multiprocessing`, however they are started: they log to their parent's sessions with no call of their own.
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter

import pytest
from helpers import read_lines, run_python

METHODS = ["fork", "spawn", "forkserver"]
QUIET = ["-W", "ignore"]  # from Python 3.12 on, a fork beside threads is warned of: the point here

HEAD = """
import concurrent.futures, logging, multiprocessing.util, os, signal, sys, time
from sessionlog_handlers import SessionHandler, current_session, start_session

METHOD = sys.argv[2]
log = logging.getLogger("app")

def work(name, count=50):
    for number in range(count):
        log.info("record", extra={"worker": name, "number": number})
    return name

def handler_at(root, **options):
    handler = SessionHandler(root, session_level="prompts", overflow="wait", **options)
    log.addHandler(handler)
    log.setLevel("INFO")
    return handler
"""


def run(tmp_path, body, method="spawn", **others):
    """Run a program from a file, as children want it, and give what it printed and left."""
    program = tmp_path / "program.py"
    program.write_text(HEAD + textwrap.dedent(body))
    return run_python(program, tmp_path / "logs", method, options=QUIET, **others)


def lines_of(tmp_path, name="s"):
    """The lines of a session."""
    return read_lines(tmp_path / "logs" / name / "session.log")


def workers_of(lines):
    """How often each record of each worker is there."""
    return Counter((line["data"]["worker"], line["data"]["number"]) for line in lines if line["event"] == "log")


class TestEachWayToStart:
    @pytest.mark.parametrize("method", METHODS)
    def test_records_land_once(self, tmp_path, method):
        """
        Process, Pool and ProcessPoolExecutor, and a child's own child: each record once, in the parent's session, which
        the parent alone ends.
        """
        body = """
            def nested(name):
                child = multiprocessing.get_context("spawn").Process(target=work, args=(name,))
                child.start()
                child.join()

            if __name__ == "__main__":
                handler_at(sys.argv[1])
                context = multiprocessing.get_context(METHOD)
                with start_session("s"):
                    children = [context.Process(target=work, args=(f"process {n}",)) for n in range(2)]
                    children.append(context.Process(target=nested, args=("nested",)))
                    for child in children:
                        child.start()
                    for child in children:
                        child.join()
                    with context.Pool(2) as pool:
                        pool.map(work, ["pool 0", "pool 1"])
                        pool.close()
                        pool.join()
                    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
                        list(pool.map(work, ["executor 0", "executor 1"]))
                    print(os.getpid(), [child.exitcode for child in children])
            """
        done = run(tmp_path, body, method, check=True)
        pid, codes = done.stdout.split(" ", 1)
        assert json.loads(codes) == [0, 0, 0]
        assert done.stderr == ""
        lines = lines_of(tmp_path)
        names = [f"{kind} {n}" for kind in ("process", "pool", "executor") for n in range(2)] + ["nested"]
        assert workers_of(lines) == {(name, number): 1 for name in names for number in range(50)}
        assert [line["event"] for line in lines if line["event"] != "log"] == ["session_start", "session_end"]
        assert lines[-1]["event"] == "session_end"
        assert all(("pid" in line) == (line["event"] == "log") for line in lines)
        assert int(pid) not in {line.get("pid") for line in lines}

    @pytest.mark.parametrize("method", METHODS)
    def test_session_is_current(self, tmp_path, method):
        """
        The session that is current where a child is started is current in it, at its level, with its metadata.
        """
        body = """
            def tell():
                session = current_session()
                print(session.id, session.level, dict(session.metadata), flush=True)
                session.event("completion", by="child")

            if __name__ == "__main__":
                handler_at(sys.argv[1])
                with start_session("s", level="signals", metadata={"of": "test"}) as session:
                    session.set_level("full")
                    child = multiprocessing.get_context(METHOD).Process(target=tell)
                    child.start()
                    child.join()
            """
        done = run(tmp_path, body, method, check=True)
        assert done.stdout == "s full {'of': 'test'}\n"
        assert [line["event"] for line in lines_of(tmp_path)] == [
            "session_start",
            "level_change",
            "completion",
            "session_end",
        ]

    @pytest.mark.parametrize("method", METHODS)
    def test_what_ends_a_child(self, tmp_path, method):
        """
        A session that a child began ends with what ended the child, its exception is in it, and its exit code stays.
        """
        body = """
            def fail(how):
                session = start_session(how)
                session.__enter__()
                if how == "error":
                    raise ValueError("bad")
                sys.exit(3)

            if __name__ == "__main__":
                handler_at(sys.argv[1], capture_errors=True)
                for how in ("error", "code"):
                    child = multiprocessing.get_context(METHOD).Process(target=fail, args=(how,), name="worker")
                    child.start()
                    child.join()
                    print(child.exitcode)
            """
        done = run(tmp_path, body, method, check=True)
        assert done.stdout == "1\n3\n"
        assert "ValueError: bad" in done.stderr
        lines = lines_of(tmp_path, "error")
        assert [line["event"] for line in lines] == ["session_start", "error", "session_end"]
        assert (lines[1]["data"]["unhandled"], lines[1]["data"]["process"]) == ("process", "worker")
        assert lines[-1]["data"]["reason"] == "exception ValueError"
        assert lines_of(tmp_path, "code")[-1]["data"]["reason"] == "exit 3"

    def test_child_starts_one_by_its_own_method(self, tmp_path):
        """
        A child that spawns a process with a method of its own is pickled as ever; one that can't be changed runs.
        """
        body = """
            spawn = multiprocessing.get_context("spawn")

            class Parent(spawn.Process):
                def work(self):
                    print("grandchild", flush=True)

                def run(self):
                    assert "run" not in vars(self)
                    child = spawn.Process(target=self.work)
                    child.start()
                    child.join()

            class Fixed(multiprocessing.get_context("fork").Process):
                def __setattr__(self, name, value):
                    if name == "run":
                        raise AttributeError(name)
                    super().__setattr__(name, value)

                def run(self):
                    print("fixed", flush=True)

            class Computed(Fixed):
                @property
                def run(self):
                    return lambda: print("computed", "run" in vars(self), flush=True)

            if __name__ == "__main__":
                handler_at(sys.argv[1])
                for kind in (Parent, Fixed, Computed):
                    child = kind()
                    child.start()
                    child.join()
        """
        done = run(tmp_path, body)
        assert (done.stdout, done.stderr) == ("grandchild\nfixed\ncomputed False\n", "")

    @pytest.mark.parametrize("method", METHODS)
    def test_killed_child(self, tmp_path, method):
        """
        A child that is killed loses at most what it had in its queue; its parent's session goes on and ends.
        """
        body = """
            def die():
                work("child")
                current_session().flush()
                os.kill(os.getpid(), signal.SIGKILL)

            if __name__ == "__main__":
                handler_at(sys.argv[1])
                with start_session("s"):
                    child = multiprocessing.get_context(METHOD).Process(target=die)
                    child.start()
                    child.join()
                    work("parent")
            """
        run(tmp_path, body, method, check=True)
        lines = lines_of(tmp_path)
        assert workers_of(lines) == {(name, number): 1 for name in ("child", "parent") for number in range(50)}
        assert lines[-1]["event"] == "session_end"
        assert json.loads((tmp_path / "logs" / "s" / "metadata.json").read_text())["state"] == "ended"

    @pytest.mark.parametrize("method", METHODS)
    def test_parent_waits_for_its_children(self, tmp_path, method):
        """
        A session that is open when the program ends gets the records of children that `multiprocessing` waits for, then
        its end. A server process that lives until the end holds nothing up.
        """
        body = """
            def late():
                time.sleep(0.3)
                work("child")

            if __name__ == "__main__":
                handler_at(sys.argv[1])
                start_session("s").__enter__()
                manager = multiprocessing.get_context(METHOD).Manager()
                multiprocessing.get_context(METHOD).Process(target=late).start()
            """
        done = run(tmp_path, body, method, check=True, timeout=30)
        lines = lines_of(tmp_path)
        assert done.stderr == ""
        assert workers_of(lines) == {("child", number): 1 for number in range(50)}
        assert [line["event"] for line in lines if line["event"] != "log"] == ["session_start", "session_end"]
        assert lines[-1]["event"] == "session_end"

    @pytest.mark.parametrize("method", METHODS)
    def test_after_the_parents_end(self, tmp_path, method):
        """
        A child that logs to a session which its parent has ended meanwhile does not begin it anew; it says so.
        """
        body = """
            def late(ended):
                ended.wait()
                work("child", 3)

            if __name__ == "__main__":
                handler_at(sys.argv[1])
                context = multiprocessing.get_context(METHOD)
                ended = context.Event()
                with start_session("s") as session:
                    child = context.Process(target=late, args=(ended,))
                    child.start()
                session.flush()
                ended.set()
                child.join()
            """
        done = run(tmp_path, body, method, check=True)
        assert [line["event"] for line in lines_of(tmp_path)] == ["session_start", "session_end"]
        assert "session 's' has ended" in done.stderr


class TestHandedDown:
    def test_handler_is_as_its_parents(self, tmp_path):
        """
        Name, level, filters, loggers with level and propagation, and a relative directory are as in the parent.
        """
        body = """
            class Only:
                def filter(self, record):
                    return "wanted" in record.getMessage()

            def tell():
                handler = log.handlers[0]
                print(handler.name, handler.level, log.level, log.propagate, handler.settings.max_bytes, flush=True)
                log.warning("wanted")
                log.warning("refused")
                log.info("wanted, too low")

            if __name__ == "__main__":
                os.chdir(os.path.dirname(sys.argv[1]))
                handler = handler_at("logs", max_bytes="1 MB")
                handler.name = "sessions"
                handler.setLevel("WARNING")
                handler.addFilter(Only())
                log.propagate = False
                os.mkdir("elsewhere")
                os.chdir("elsewhere")
                with start_session("s"):
                    child = multiprocessing.get_context(METHOD).Process(target=tell)
                    child.start()
                    child.join()
            """
        done = run(tmp_path, body, check=True)
        assert done.stdout == "sessions 30 20 False 1048576\n"
        assert [line["msg"] for line in lines_of(tmp_path) if line["event"] == "log"] == ["wanted"]

    def test_child_that_configures_itself(self, tmp_path):
        """
        A main module that configures logging when it is loaded does so in the child, and nothing is added to it.
        """
        body = """
            handler_at(sys.argv[1])

            def tell():
                work("child", 3)
                print(len(log.handlers), flush=True)

            if __name__ == "__main__":
                with start_session("s"):
                    child = multiprocessing.get_context(METHOD).Process(target=tell)
                    child.start()
                    child.join()
            """
        done = run(tmp_path, body, check=True)
        assert done.stdout == "1\n"
        assert workers_of(lines_of(tmp_path)) == {("child", number): 1 for number in range(3)}

    def test_program_without_a_file(self, tmp_path):
        """
        A child of `python -c`, which can't have its parent's main module, has its handler.
        """
        text = """
import logging, multiprocessing, sys
from sessionlog_handlers import SessionHandler, start_session
log = logging.getLogger("app")
log.addHandler(SessionHandler(sys.argv[1], session_level="prompts"))
log.setLevel("INFO")
class Own(SessionHandler):
    pass
other = Own(sys.argv[1] + "/other")
log.addHandler(other)
with start_session("s", handler=log.handlers[0]):
    child = multiprocessing.get_context("spawn").Process(target=log.info, args=("from the child",))
    child.start()
    child.join()
    print(child.exitcode)
"""
        done = run_python(text, tmp_path / "logs", check=True)
        assert done.stdout == "0\n"
        assert [line["msg"] for line in lines_of(tmp_path) if line["event"] == "log"] == ["from the child"]

    def test_what_does_not_go_along(self, tmp_path):
        """
        A filter that can't be pickled stays behind with one report; the child has its handler.
        """
        body = """
            if __name__ == "__main__":
                handler_at(sys.argv[1]).addFilter(lambda record: True)
                with start_session("s"):
                    for number in range(2):
                        child = multiprocessing.get_context(METHOD).Process(target=work, args=(number, 1))
                        child.start()
                        child.join()
            """
        done = run(tmp_path, body, check=True)
        assert done.stderr.count("a filter does not go along to child processes") == 1
        assert workers_of(lines_of(tmp_path)) == {(0, 0): 1, (1, 0): 1}

    def test_never_breaks_a_start(self, tmp_path):
        """
        Whatever goes wrong with the handler, the child starts, in the parent's part and in its own.
        """
        body = """
            def tell():
                print("child", len(log.handlers), flush=True)

            if __name__ == "__main__":
                handler = handler_at(sys.argv[1])
                from sessionlog_handlers import processes
                for name in ("live_handlers", None):
                    if name:
                        real = processes.lifecycle.live_handlers
                        processes.lifecycle.live_handlers = lambda: 1 / 0
                    else:
                        processes.lifecycle.live_handlers = real
                        handler.options["max_bytes"] = "nonsense"
                    child = multiprocessing.get_context(METHOD).Process(target=tell)
                    child.start()
                    child.join()
                    print(child.exitcode, flush=True)
            """
        done = run(tmp_path, body, check=True)
        assert done.stdout == "child 0\n0\n" * 2
        assert "a child process starts without a handler" in done.stderr
        assert "this child process has no handler from its parent" in done.stderr

    def test_multiprocessing_is_not_loaded_for_it(self, tmp_path):
        """
        A handler loads nothing of `multiprocessing`; what the app loads later knows of it.
        """
        text = """
import sys
from sessionlog_handlers import SessionHandler
SessionHandler(sys.argv[1])
print("multiprocessing" in sys.modules)
import multiprocessing
print("sessionlog" in multiprocessing.current_process()._config)
"""
        assert run_python(text, tmp_path, check=True).stdout == "False\nTrue\n"

    def test_terminated_pool(self, tmp_path):
        """
        A pool ends its workers by SIGTERM when its block is left; with capture_signals they write what they have first.
        """
        body = """
            if __name__ == "__main__":
                handler_at(sys.argv[1], capture_signals=True)
                with start_session("s"):
                    with multiprocessing.get_context(METHOD).Pool(2) as pool:
                        pool.map(work, ["pool 0", "pool 1"])
            """
        run(tmp_path, body, check=True)
        expected = {(f"pool {worker}", number): 1 for worker in range(2) for number in range(50)}
        assert workers_of(lines_of(tmp_path)) == expected
