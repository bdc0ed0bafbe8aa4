from __future__ import annotations

import gc
import io
import logging
import logging.config
import threading
import time

import pytest
from helpers import run_python, watchdog

from sessionlog_handlers import BoundedQueueHandler
from sessionlog_handlers.exceptions import ConfigurationError


class _Collecting(logging.Handler):
    """
    Keeps the text of each record, after a pause.
    """

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__()
        self.pause = pause
        self.texts: list[str] = []
        self.threads: set[str] = set()
        self.flushed = self.closed = 0

    def emit(self, record: logging.LogRecord) -> None:
        time.sleep(self.pause)
        self.texts.append(self.format(record))
        self.threads.add(threading.current_thread().name)

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed += 1
        super().close()


class _Gate(_Collecting):
    """
    Takes nothing until it is opened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.opened = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.reached.set()
        self.opened.wait(20)
        super().emit(record)


@pytest.fixture
def logger():
    """
    A logger without handlers.
    """
    logger = logging.getLogger("test_queueing")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return logger


@pytest.fixture
def queue(logger):
    """
    Makes a handler with a queue, on the logger.
    """

    def make(target, **options: object) -> BoundedQueueHandler:
        handler = BoundedQueueHandler(target, **options)
        logger.addHandler(handler)
        return handler

    return make


def registered() -> int:
    """How many handlers `logging` knows of, garbage left out."""
    gc.collect()
    return len([reference for reference in logging._handlerList if reference() is not None])


class TestInCode:
    def test_before_a_stream(self, queue, logger):
        """
        Records reach the handler behind the queue in order, by its own formatter, in another thread.
        """
        stream = io.StringIO()
        target = logging.StreamHandler(stream)
        target.setFormatter(logging.Formatter("%(levelname)s %(name)s %(funcName)s %(message)s %(user)s"))
        handler = queue(target)
        for number in range(100):
            logger.info("record %d of %s", number, "many", extra={"user": "ada"})
        handler.flush()
        function = "test_before_a_stream"
        assert stream.getvalue().splitlines() == [
            f"INFO test_queueing {function} record {number} of many ada" for number in range(100)
        ]

    def test_before_a_file(self, queue, logger, tmp_path):
        """
        A file handler behind the queue writes all, exceptions with their traceback.
        """
        handler = queue(logging.FileHandler(tmp_path / "app.log", encoding="utf-8"))
        try:
            raise ValueError("grün")
        except ValueError:
            logger.exception("failed")
        handler.flush()
        text = (tmp_path / "app.log").read_text("utf-8")
        assert text.startswith("failed\nTraceback")
        assert text.endswith("ValueError: grün\n")

    def test_runs_beside_the_caller(self, queue, logger):
        """
        The handlers behind the queue run in its own thread, never in the caller's.
        """
        target = _Collecting()
        handler = queue(target)
        logger.info("hello")
        handler.flush()
        assert target.threads == {"sessionlog-listener"}

    def test_several_targets(self, queue, logger):
        """
        Each record goes to each handler, made or described, whose own level takes it.
        """
        low, high = _Collecting(), _Collecting()
        high.setLevel(logging.ERROR)
        stream = io.StringIO()
        handler = queue([low, high, {"class": "logging.StreamHandler", "stream": stream, "level": "WARNING"}])
        for number in (logging.DEBUG, logging.WARNING, logging.ERROR):
            logger.log(number, logging.getLevelName(number))
        handler.flush()
        assert low.texts == ["DEBUG", "WARNING", "ERROR"]
        assert high.texts == ["ERROR"]
        assert stream.getvalue().split() == ["WARNING", "ERROR"]

    def test_levels_of_targets_left_aside(self, queue, logger):
        """
        On request a target's own level does not count, as in the standard library's listener.
        """
        target = _Collecting()
        target.setLevel(logging.ERROR)
        handler = queue(target, respect_handler_level=False)
        logger.debug("hello")
        handler.flush()
        assert target.texts == ["hello"]

    def test_values_of_the_call(self, queue, logger):
        """
        The text is that of the call, whatever the app does with the arguments afterwards.
        """
        gate = _Gate()
        handler = queue(gate)
        values = [1]
        logger.info("values %s", values)
        values.append(2)
        gate.opened.set()
        handler.flush()
        assert gate.texts == ["values [1]"]

    def test_wrong_arguments(self, queue, logger):
        """
        A message whose arguments don't fit is handed on with a remark; the record itself stays as it was.
        """
        target = _Collecting()
        handler = queue(target)
        record = logging.LogRecord("app", logging.INFO, __file__, 1, "%d items", ("many",), None)
        handler.handle(record)
        handler.flush()
        assert target.texts == ["%d items [format error: TypeError]"]
        assert (record.msg, record.args) == ("%d items", ("many",))

    def test_slow_target_does_not_hold_callers(self, queue, logger):
        """
        Behind the queue a target that takes 10 ms for each record costs its callers nothing of that.
        """
        target = _Collecting(0.01)
        handler = queue(target)
        times = []
        for number in range(100):
            begin = time.perf_counter()
            logger.info("record %d", number)
            times.append(time.perf_counter() - begin)
        assert sorted(times)[98] < 0.005
        handler.flush()
        assert len(target.texts) == 100

    def test_many_threads(self, queue, logger):
        """
        Records of 8 threads arrive once each, in each thread's order.
        """
        target = _Collecting()
        handler = queue(target)

        def log(who: int) -> None:
            for number in range(500):
                logger.info("%d %d", who, number)

        threads = [threading.Thread(target=log, args=(who,)) for who in range(8)]
        with watchdog(60):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            handler.flush()
        for who in range(8):
            of_one = [text for text in target.texts if text.startswith(f"{who} ")]
            assert of_one == [f"{who} {number}" for number in range(500)]
        assert len(target.texts) == 4_000


class TestTrouble:
    @pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt()])
    def test_failing_target(self, queue, logger, capsys, error):
        """
        Whatever a target raises reaches neither the app nor the other targets; it is counted and told of once.
        """

        class Failing(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                raise error

        good = _Collecting()
        handler = queue([good, Failing()])
        for number in range(3):
            logger.info("record %d", number)
        handler.flush()
        logger.info("last")
        handler.flush()
        assert good.texts == ["record 0", "record 1", "record 2", "last"]
        assert handler.dropped == {"error": 4}
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sessionlog: ")]
        assert len(told) == 1
        assert type(error).__name__ in told[0]

    def test_full(self, queue, logger, capsys):
        """
        What a full queue refuses is counted and told of, the least important first; the rest arrives.
        """
        gate = _Gate()
        handler = queue(gate, capacity=20, linger=0)
        logger.info("first")
        assert gate.reached.wait(10)
        for number in range(30):
            logger.debug("debug %d", number)
        for number in range(10):
            logger.error("error %d", number)
        gate.opened.set()
        handler.flush()
        logger.info("afterwards")
        handler.flush()
        # The first is in hand, and takes room until it is dealt with.
        taken = [f"debug {number}" for number in range(17)] + ["error 0", "error 1"]
        assert gate.texts == ["first", *taken, "afterwards"]
        assert handler.dropped == {"queue_full": 21}
        assert capsys.readouterr().err.count("is full; records are left out") == 1

    def test_full_by_bytes(self, queue, logger, capsys):
        """
        Large records are bounded by their bytes, though they are few.
        """
        gate = _Gate()
        handler = queue(gate, max_bytes="1 MB", linger=0)
        logger.info("first")
        assert gate.reached.wait(10)
        for _ in range(50):
            logger.info("x" * 100_000)
        gate.opened.set()
        handler.flush()
        assert len(gate.texts) == 1 + 9
        assert handler.dropped == {"queue_full": 41}

    def test_wait(self, queue, logger):
        """
        With ``overflow: wait`` the caller waits for room, and nothing is lost.
        """
        target = _Collecting(0.001)
        handler = queue(target, capacity=4, overflow="wait", linger=0)
        begin = time.monotonic()
        with watchdog(60):
            for number in range(200):
                logger.debug("%d", number)
            waited = time.monotonic() - begin
            handler.flush()
        assert target.texts == [str(number) for number in range(200)]
        assert handler.dropped == {}
        assert waited > 0.15


class TestLife:
    def test_flush(self, queue, logger):
        """
        `flush` waits for what was logged before, and flushes the targets.
        """
        target = _Collecting()
        handler = queue(target, linger=5)
        logger.info("hello")
        begin = time.monotonic()
        handler.flush()
        assert time.monotonic() - begin < 2
        assert target.texts == ["hello"]
        assert target.flushed == 1

    def test_flush_without_records(self, queue, logger):
        """
        Flushing what has no records starts no thread, and a target whose stream is closed keeps nothing from ending.
        """
        stream = io.StringIO()
        handler = queue(logging.StreamHandler(stream))
        handler.flush()
        assert not handler.queue_listener.is_running
        logger.info("hello")
        handler.flush()
        stream.close()
        logging.shutdown([lambda: handler])
        assert not handler.queue_listener.is_running

    def test_linger(self, queue, logger):
        """
        Without a flush a record arrives soon by itself.
        """
        gate = _Gate()
        gate.opened.set()
        done = threading.Event()
        gate.format = lambda record: done.set() or "hello"
        queue(gate, linger="20 ms")
        logger.info("hello")
        assert done.wait(2)

    def test_starts_with_the_first_record(self, queue, logger):
        """
        No thread runs before the first record, and none after closing.
        """
        handler = queue(_Collecting())
        assert not handler.queue_listener.is_running
        logger.info("hello")
        assert handler.queue_listener.is_running
        handler.close()
        assert not handler.queue_listener.is_running

    def test_closes_and_lives_again(self, queue, logger, tmp_path):
        """
        Closing hands on what is queued, closes the targets and may be repeated; the next record starts all again.
        """
        target = _Collecting()
        handler = queue([target, logging.FileHandler(tmp_path / "app.log")], linger=5)
        for number in range(3):
            logger.info("record %d", number)
            handler.close()
            handler.close()
            assert target.texts == [f"record {number}" for number in range(number + 1)]
            assert target.closed == 2 * (number + 1)
        assert (tmp_path / "app.log").read_text().split("\n")[:-1] == target.texts

    def test_dies_with_nothing_left(self, tmp_path):
        """
        A program that ends without a word has written all that it logged.
        """
        run_python(
            """
import logging, sys
from sessionlog_handlers import BoundedQueueHandler
handler = BoundedQueueHandler(logging.FileHandler(sys.argv[1]), linger=10)
logging.basicConfig(level=logging.INFO, handlers=[handler])
for number in range(20_000):
    logging.info("record %d", number)
""",
            tmp_path / "app.log",
            timeout=30,
            check=True,
        )
        lines = (tmp_path / "app.log").read_text().splitlines()
        assert len(lines) == 20_000
        assert lines[-1].endswith("record 19999")

    def test_fork(self, tmp_path):
        """
        A forked child writes its own records, and not those that its parent had queued.
        """
        run_python(
            """
import logging, os, sys
from sessionlog_handlers import BoundedQueueHandler
handler = BoundedQueueHandler(logging.FileHandler(sys.argv[1]), linger=0.5)
logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(message)s")
for number in range(100):
    logging.info("parent %d", number)
child = os.fork()
if not child:
    for number in range(100):
        logging.info("child %d", number)
    handler.flush()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
            tmp_path / "app.log",
            options=["-W", "ignore::DeprecationWarning"],  # of forking while threads run
            timeout=30,
            check=True,
        )
        lines = (tmp_path / "app.log").read_text().splitlines()
        assert sorted(lines) == sorted(f"{who} {number}" for who in ("parent", "child") for number in range(100))


class TestInYaml:
    def configure(self, handler: dict[str, object], **more: object) -> None:
        """Apply a configuration with that one handler on the logger."""
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "handlers": {"queue": {"()": "sessionlog_handlers.BoundedQueueHandler", **handler}},
                "loggers": {"test_queueing": {"level": "DEBUG", "handlers": ["queue"], "propagate": False}},
                **more,
            }
        )

    def test_target_in_place(self, logger, tmp_path):
        """
        The handler behind the queue is described in place, with its level and its formatter.
        """
        self.configure(
            {
                "capacity": 1000,
                "target": {
                    "class": "logging.FileHandler",
                    "filename": str(tmp_path / "app.log"),
                    "level": "INFO",
                    "formatter": {"format": "%(levelname)s %(message)s"},
                },
            }
        )
        logger.debug("detail")
        logger.error("broken")
        (handler,) = logger.handlers
        handler.flush()
        assert (tmp_path / "app.log").read_text() == "ERROR broken\n"
        assert handler.bounded.capacity == 1000

    def test_factory_and_external_values(self, logger, capsys):
        """
        A target may be made by ``()``, and ``ext://`` names an object.
        """
        self.configure(
            {
                "target": [
                    {"()": logging.StreamHandler, "stream": "ext://sys.stdout"},
                    {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "level": "ERROR"},
                ]
            }
        )
        logger.info("one")
        logger.error("two")
        logger.handlers[0].flush()
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("one\ntwo\n", "two\n")

    def test_level_and_filters_of_its_own(self, logger, tmp_path):
        """
        The queue's own level and filters work as for any handler.
        """
        target = _Collecting()
        self.configure(
            {"target": target, "level": "WARNING", "filters": ["named"]},
            filters={"named": {"name": "test_queueing.part"}},
        )
        logger.error("other logger")
        logging.getLogger("test_queueing.part").info("too low")
        logging.getLogger("test_queueing.part").error("passes")
        logger.handlers[0].flush()
        assert target.texts == ["passes"]

    def test_applied_again(self, logger, tmp_path):
        """
        A configuration that is applied again loses nothing and logs nothing twice.
        """
        for number in range(3):
            self.configure({"target": {"class": "logging.FileHandler", "filename": str(tmp_path / "app.log")}})
            logger.info("record %d", number)
        logger.handlers[0].flush()
        assert (tmp_path / "app.log").read_text().split("\n")[:-1] == ["record 0", "record 1", "record 2"]

    def test_wrong_setting(self, logger):
        """
        A wrong setting fails the configuration with the sentence that says what is allowed.
        """
        with pytest.raises(ValueError, match="Unable to configure handler 'queue'") as caught:
            self.configure({"target": _Collecting(), "overflow": "wiat"})
        assert isinstance(caught.value.__cause__, ConfigurationError)
        assert "did you mean" in str(caught.value.__cause__)


class TestBadOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"overflow": "drop"}, "'drop' is not an overflow policy; choose shed or wait"),
            ({"overflow": "wiat"}, "did you mean 'wait'"),
            ({"capacity": 0}, "capacity: 0 is not a whole number from 1"),
            ({"capacity": "many"}, "capacity: 'many' is not a whole number"),
            ({"max_bytes": "lots"}, "max_bytes: 'lots' is not"),
            ({"linger": "soon"}, "linger: 'soon' is not"),
        ],
    )
    def test_registers_nothing(self, tmp_path, options, words):
        """
        A wrong option is one sentence; no handler is left behind, and the target's file is not made.
        """
        before = registered()
        target = {"class": "logging.FileHandler", "filename": str(tmp_path / "app.log")}
        with pytest.raises(ConfigurationError, match=words) as caught:
            BoundedQueueHandler(target, **options)
        assert caught.value.key == next(iter(options))
        del caught
        assert registered() == before
        assert not (tmp_path / "app.log").exists()

    @pytest.mark.parametrize(
        ("target", "words"),
        [
            (7, "no handler"),
            ("console", "no handler"),
            (None, "no handler"),
            ([], "no handler"),
            ([7], r"7 is no handler to put the queue before; give one, .* a mapping with 'class' or '\(\)'"),
            ({"class": "logging.FileHandle"}, "the handler behind the queue can't be made"),
            ({"class": "nowhere.Handler"}, "the handler behind the queue can't be made"),
            ({"class": "logging.FileHandler"}, "filename"),
            ({"class": "logging.FileHandler", "filename": "/dev/null", "nmae": 1}, "nmae"),
            ({}, "can't be made"),
        ],
    )
    def test_bad_target(self, target, words):
        """
        What is no handler, or can't be made one, is said in one sentence, under the key ``target``.
        """
        before = registered()
        with pytest.raises(ConfigurationError, match=words) as caught:
            BoundedQueueHandler(target)
        assert caught.value.key == "target"
        assert "\n" not in str(caught.value)
        del caught
        assert registered() == before

    def test_second_target_is_bad(self, tmp_path):
        """
        Targets that were made before the bad one are closed again.
        """
        before = registered()
        good = {"class": "logging.FileHandler", "filename": str(tmp_path / "app.log")}
        with pytest.raises(ConfigurationError, match="can't be made") as caught:
            BoundedQueueHandler([good, {"class": "nowhere.Handler"}])
        del caught
        assert registered() == before
