"""
However a program ends, what it logged is in the files, and each session's last line says why it ended.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time

import pytest
from helpers import child_environment, read_lines, run_python, wait_until

PROGRAM = """
import logging, os, signal, sys, threading, time
from sessionlog_handlers import SessionHandler, start_session

handler = SessionHandler(sys.argv[1], overflow="wait"{options})
logger = logging.getLogger("app")
logger.setLevel("INFO")
logger.addHandler(handler)

def log(count=20_000):
    for number in range(count):
        logger.info("record", extra={{"number": number}})

{body}
"""


def program(body, options=""):
    """The text of a program that logs and then ends in some way."""
    return PROGRAM.format(body=textwrap.dedent(body), options=options)


def session_lines(root, name="s"):
    """The lines of a session, and the numbers that its ordinary records carry."""
    lines = read_lines(root / name / "session.log")
    return lines, [line["data"]["number"] for line in lines if line["event"] == "log"]


class TestOrdinaryEnds:
    @pytest.mark.parametrize(
        ("body", "code", "reason"),
        [
            ("with start_session('s', level='full'): log()", 0, "return"),
            ("start_session('s', level='full').__enter__(); log()", 0, "exit"),
            ("with start_session('s', level='full'): log(); raise KeyError('x')", 1, "exception KeyError"),
            ("start_session('s', level='full').__enter__(); log(); raise KeyError('x')", 1, "exception KeyError"),
            ("with start_session('s', level='full'): log(); sys.exit(3)", 3, "exit 3"),
            ("with start_session('s', level='full'): log(); sys.exit('sorry')", 1, "exit 1"),
            ("with start_session('s', level='full'): log(); os.kill(os.getpid(), 2)", -2, "signal SIGINT"),
            ("start_session('s', level='full').__enter__(); log(); os.kill(os.getpid(), 2)", -2, "signal SIGINT"),
        ],
    )
    def test_loses_nothing_and_says_why(self, tmp_path, body, code, reason):
        """
        Return, exception, sys.exit and SIGINT leave 20,000 records and a last line with the reason.
        """
        done = run_python(program(body), tmp_path)
        lines, numbers = session_lines(tmp_path)
        assert done.returncode == code
        assert numbers == list(range(20_000))
        assert (lines[-1]["event"], lines[-1]["data"]["reason"]) == ("session_end", reason)

    def test_ends_within_two_seconds(self, tmp_path):
        """
        After the last statement of a program with a full queue it takes less than two seconds until it is gone.
        """
        body = """
            with start_session("s", level="full"):
                log()
                print(time.time(), flush=True)
        """
        done = run_python(program(body), tmp_path, check=True)
        assert time.time() - float(done.stdout) < 2.0 + 1.0  # one second for this test's own process to be scheduled

    def test_ends_at_once_with_little_to_write(self, tmp_path):
        """
        With some records in the queue and nothing in the way, the end takes a fraction of a second.
        """
        body = """
            import atexit
            start = []
            # Exit functions run last in, first out: the first of these comes after ours, the second before.
            atexit.unregister(__import__("sessionlog_handlers.pipeline.lifecycle", fromlist=["x"]).at_exit)
            atexit.register(lambda: print(time.monotonic() - start[0]))
            atexit.register(__import__("sessionlog_handlers.pipeline.lifecycle", fromlist=["x"]).at_exit)
            atexit.register(lambda: start.append(time.monotonic()))
            start_session("s", level="full").__enter__()
            log(1000)
        """
        seconds = sorted(float(run_python(program(body), tmp_path / name, check=True).stdout) for name in "abc")
        assert seconds[1] < 0.5
        assert len(session_lines(tmp_path / "a")[1]) == 1000

    def test_does_not_wait_for_a_call_that_never_returns(self, tmp_path):
        """
        When the system itself holds up a write, as a dead network disk does, the program ends after some two seconds.
        """
        body = """
            start_session("s", level="full").__enter__()
            log(10)
            handler.flush()
            write = os.write
            threads = []
            def hang(descriptor, content):
                if threading.current_thread() is not threading.main_thread():
                    threads.append(threading.current_thread().name)
                    time.sleep(600)
                return write(descriptor, content)
            os.write = hang
            log(10)
            while not threads:
                time.sleep(0.01)
            print(time.time(), flush=True)
        """
        done = run_python(program(body), tmp_path)
        assert time.time() - float(done.stdout) < 2.0 + 2.0  # two seconds for a busy machine
        assert "still wait for a slow disk" in done.stderr
        assert len(session_lines(tmp_path)[1]) == 10

    def test_waits_for_a_disk_that_is_slow(self, tmp_path):
        """
        While files are being written the end of the program waits for them, also for longer than two seconds.
        """
        body = """
            from sessionlog_handlers.pipeline.writer import Writer
            append = Writer.append
            Writer.append = lambda *args, **kwargs: (time.sleep(0.2), append(*args, **kwargs))[1]
            for number in range(4):
                logger.info("record", extra={"number": number, "session_id": f"s{number}"})
        """
        done = run_python(program(body, ', session_level="full"'), tmp_path, check=True)
        assert done.stderr == ""
        for number in range(4):
            lines, numbers = session_lines(tmp_path, f"s{number}")
            assert numbers == [number]
            assert lines[-1]["event"] == "session_end"

    def test_does_not_wait_for_a_disk_that_stands_still(self, tmp_path):
        """
        When nothing can be written for two seconds the program ends all the same, and says what was not written.
        """
        body = """
            from sessionlog_handlers.pipeline.writer import Writer
            Writer.append = lambda *args, **kwargs: time.sleep(600)
            start_session("s", level="full").__enter__()
            log(10)
            time.sleep(0.2)
            print(time.time(), flush=True)
        """
        done = run_python(program(body), tmp_path)
        assert time.time() - float(done.stdout) < 2.0 + 2.0  # two seconds for a busy machine
        assert "still wait for a slow disk" in done.stderr

    def test_drains_records_of_daemon_threads(self, tmp_path):
        """
        What a daemon thread logged before the program ended is written.
        """
        body = """
            start_session("s", level="full").__enter__()
            from sessionlog_handlers import bind
            thread = threading.Thread(target=bind(log), daemon=True)
            thread.start()
            thread.join()
        """
        run_python(program(body), tmp_path, check=True)
        assert len(session_lines(tmp_path)[1]) == 20_000

    def test_writes_what_is_logged_during_the_exit(self, tmp_path):
        """
        A record of an exit function that runs after ours is still written.
        """
        body = """
            import atexit
            # Exit functions run last in, first out, and ours was registered on import.
            atexit.unregister(__import__("sessionlog_handlers.pipeline.lifecycle", fromlist=["x"]).at_exit)
            atexit.register(lambda: logger.info("late", extra={"number": -1, "session_id": "other"}))
            atexit.register(__import__("sessionlog_handlers.pipeline.lifecycle", fromlist=["x"]).at_exit)
            logger.info("early", extra={"number": 1, "session_id": "s"})
        """
        run_python(program(body, ', session_level="full"'), tmp_path, check=True)
        assert [line["msg"] for line in read_lines(tmp_path / "other" / "session.log") if "msg" in line] == ["late"]

    def test_logs_after_shutdown(self, tmp_path):
        """
        `logging.shutdown` closes the handler, and the next record revives it.
        """
        body = """
            with start_session("s", level="full"):
                log(10)
                logging.shutdown()
                log(10)
                logging.shutdown()
        """
        run_python(program(body), tmp_path, check=True)
        lines, numbers = session_lines(tmp_path)
        assert numbers == [*range(10), *range(10)]
        assert lines[-1]["event"] == "session_end"


class TestSignals:
    @pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
    def test_captured_signal_ends_sessions_and_then_the_program(self, tmp_path, name):
        """
        With capture_signals, SIGTERM and SIGHUP write everything and the reason, and still end the program as before.
        """
        body = f"""
            start_session("s", level="full").__enter__()
            log()
            os.kill(os.getpid(), signal.{name})
            time.sleep(30)
        """
        done = run_python(program(body, ", capture_signals=True"), tmp_path)
        lines, numbers = session_lines(tmp_path)
        assert done.returncode == -getattr(signal, name)
        assert numbers == list(range(20_000))
        assert lines[-1]["data"]["reason"] == f"signal {name}"

    def test_chains_to_the_handler_of_the_app(self, tmp_path):
        """
        The app's own handler of a captured signal runs, and the session's last line still names the signal.
        """
        body = """
            start_session("s", level="full").__enter__()
            log(100)
            signal.raise_signal(signal.SIGTERM)
        """
        before = 'signal.signal(signal.SIGTERM, lambda *_: (print("mine"), sys.exit(7)))\n'
        text = program(body, ", capture_signals=True").replace("handler = ", before + "handler = ", 1)
        done = run_python(text, tmp_path)
        assert (done.returncode, done.stdout.strip()) == (7, "mine")
        assert session_lines(tmp_path)[0][-1]["data"]["reason"] == "signal SIGTERM"

    def test_leaves_an_ignored_signal_ignored(self, tmp_path):
        """
        A signal that the app ignores, as under nohup, is not captured.
        """
        body = """
            with start_session("s", level="full"):
                signal.raise_signal(signal.SIGHUP)
                log(10)
        """
        before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        text = program(body, ", capture_signals=True").replace("handler = ", before + "handler = ", 1)
        run_python(text, tmp_path, check=True)
        assert session_lines(tmp_path)[0][-1]["data"]["reason"] == "return"

    def test_logging_in_a_signal_handler_never_hangs(self, tmp_path):
        """
        A handler that logs while the main thread logs, hundreds of times, neither hangs nor loses a record.
        """
        body = """
            with start_session("s", level="full"):
                signal.signal(signal.SIGALRM, lambda *_: logger.info("in handler", extra={"number": -1}))
                signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
                log()
                signal.setitimer(signal.ITIMER_REAL, 0)
        """
        run_python(program(body), tmp_path, check=True)
        numbers = session_lines(tmp_path)[1]
        assert [number for number in numbers if number >= 0] == list(range(20_000))
        assert numbers.count(-1) > 10


class TestKilled:
    def test_what_was_written_stays_and_the_next_start_goes_on(self, tmp_path):
        """
        After SIGKILL every flushed record is there, and the next start of the session notes the crash and goes on.
        """
        body = """
            start_session("s", level="full").__enter__()
            log(1000)
            handler.flush()
            print("flushed", flush=True)
            time.sleep(30)
        """
        child = subprocess.Popen(
            [sys.executable, "-c", program(body), str(tmp_path)],
            stdout=subprocess.PIPE,
            env=child_environment(),
            text=True,
        )
        with child:
            assert child.stdout.readline() == "flushed\n"
            child.kill()
        run_python(program("with start_session('s', level='full'): log(10)"), tmp_path, check=True)
        lines, numbers = session_lines(tmp_path)
        assert numbers == [*range(1000), *range(10)]
        crashed = next(line for line in lines if line["event"] == "session_crashed")
        assert crashed["data"]["last_line"] == lines[1000]["ts"]
        assert crashed["seq"] == 1002
        started = [line["data"] for line in lines if line["event"] == "session_start"]
        assert [data.get("resumed", False) for data in started] == [False, True]

    def test_line_is_on_its_way_within_the_linger(self, tmp_path):
        """
        Without any flush a record is in its file soon after the call, so that SIGKILL costs little.
        """
        body = """
            start_session("s", level="full").__enter__()
            log(1)
            time.sleep(30)
        """
        child = subprocess.Popen([sys.executable, "-c", program(body), str(tmp_path)], env=child_environment())
        with child:
            log = tmp_path / "s" / "session.log"
            wait_until(lambda: log.exists() and b'"event":"log"' in log.read_bytes(), 5)
            child.kill()
        assert session_lines(tmp_path)[1] == [0]
