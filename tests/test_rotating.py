from __future__ import annotations

import gzip
import locale
import logging
import logging.handlers
import os
import shutil
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from concurrent_log_handler import ConcurrentRotatingFileHandler
from helpers import registered, run_python, watchdog

from sessionlog_handlers import SessionRotatingFileHandler
from sessionlog_handlers.exceptions import ConfigurationError


@pytest.fixture
def logger():
    """
    A logger without handlers.
    """
    logger = logging.getLogger("test_rotating")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    return logger


def listing(directory):
    """Name → content of each file but the locks."""
    return {path.name: path.read_text("utf-8") for path in sorted(directory.iterdir()) if path.suffix != ".lock"}


class TestOneFile:
    """
    `SessionRotatingFileHandler` in the place of the standard library's class.
    """

    @pytest.fixture
    def make(self, logger, tmp_path):
        """
        Makes a handler for ``app.log`` on the logger, in the place of others.
        """

        def make_handler(**options: object) -> SessionRotatingFileHandler:
            for other in logger.handlers[:]:
                logger.removeHandler(other)
                other.close()
            handler = SessionRotatingFileHandler(tmp_path / "app.log", **options)
            logger.addHandler(handler)
            return handler

        return make_handler

    def test_is_a_rotating_file_handler(self, make):
        """
        Whoever asks for the standard library's class, or its attributes, gets them.
        """
        handler = make(maxBytes=100, backupCount=3)
        assert isinstance(handler, logging.handlers.RotatingFileHandler)
        assert (handler.maxBytes, handler.backupCount, handler.mode, handler.encoding) == (100, 3, "a", "utf-8")

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"maxBytes": 100},
            {"backupCount": 3},
            {"maxBytes": 100, "backupCount": 1},
            {"maxBytes": 100, "backupCount": 3},
            {"maxBytes": 1, "backupCount": 2},
            {"maxBytes": 100, "backupCount": 3, "mode": "w"},
            {"maxBytes": 100, "backupCount": 2, "delay": True},
        ],
    )
    def test_same_files_as_the_stdlib(self, logger, tmp_path, options):
        """
        The same records make the same files, names and contents, as with the standard library's class.
        """
        found = []
        for cls in (logging.handlers.RotatingFileHandler, SessionRotatingFileHandler):
            directory = tmp_path / cls.__name__
            directory.mkdir()
            (directory / "app.log").write_text("from before\n")
            handler = cls(directory / "app.log", encoding="utf-8", **options)
            handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
            logger.addHandler(handler)
            for number in range(40):
                logger.info("record %d %s", number, "x" * (number % 7))
            logger.info("one that is longer than the size of a file %s", "y" * 150)
            logger.info("last")
            logger.removeHandler(handler)
            handler.close()
            found.append(listing(directory))
        assert found[0] == found[1]
        assert len(found[0]) == (1 + options.get("backupCount", 0) if options.get("maxBytes") else 1)

    def test_size_of_what_others_wrote(self, make, logger, tmp_path):
        """
        What is in the file already, and what others append to it, counts for its size.
        """
        (tmp_path / "app.log").write_text("from before, and long enough\n")
        make(maxBytes=20, backupCount=5)
        logger.info("first")
        assert listing(tmp_path)["app.log"] == "first\n"
        with open(tmp_path / "app.log", "a") as other:
            other.write("of another program\n")
        logger.info("second")
        assert listing(tmp_path) == {
            "app.log": "second\n",
            "app.log.1": "first\nof another program\n",
            "app.log.2": "from before, and long enough\n",
        }

    def test_modes(self, make, logger, tmp_path):
        """
        ``a`` goes on, ``w`` begins anew but only once, ``x`` wants no file to be there.
        """
        log = tmp_path / "app.log"
        log.write_text("before\n")
        make(mode="a")
        logger.info("a")
        assert log.read_text() == "before\na\n"
        handler = make(mode="w")
        logger.info("w")
        handler.close()
        logger.info("w again")
        assert log.read_text() == "w\nw again\n"
        with pytest.raises(FileExistsError):
            make(mode="x")
        log.unlink()
        make(mode="x")
        logger.info("x")
        assert log.read_text() == "x\n"

    def test_encoding(self, make, logger, tmp_path, capsys):
        """
        Text is written in the encoding that is asked for; what it lacks is escaped, or treated as *errors* says.
        """
        log = tmp_path / "app.log"
        make(mode="w", encoding="latin-1")
        logger.info("grün \u20ac")
        assert log.read_bytes() == "grün \\u20ac\n".encode("latin-1")
        make(mode="w", encoding="ascii", errors="replace")
        logger.info("grün")
        assert log.read_bytes() == b"gr?n\n"
        make(mode="w")
        logger.info("surrogate \ud800")
        assert log.read_bytes() == b"surrogate \\ud800\n"
        make(mode="w", encoding="ascii", errors="strict")
        logger.info("grün")
        logger.info("next")
        assert log.read_bytes() == b"next\n"
        assert "UnicodeEncodeError" in capsys.readouterr().err

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp037", "iso2022_jp"])
    def test_byte_order_mark(self, make, logger, tmp_path, encoding):
        """
        A byte order mark stands at a file's beginning only, whoever opens it again and however often it is rotated.
        """
        for _ in range(3):
            make(encoding=encoding, maxBytes=60, backupCount=9)
            logger.info("eins")
            logger.info("zwei")
        for path in tmp_path.glob("app.log*"):
            content = path.read_bytes()
            text = content.decode(encoding)
            assert "\ufeff" not in text
            assert content == text.encode(encoding)
        files = sorted(tmp_path.glob("app.log.*"), reverse=True)
        texts = [path.read_text(encoding) for path in [*files, tmp_path / "app.log"]]
        assert "".join(texts) == "eins\nzwei\n" * 3

    def test_encoding_of_several_writers(self, make, logger, tmp_path):
        """
        What another program appended is not taken for a torn line where a line end has two bytes.
        """
        make(encoding="utf-16")
        logger.info("ours")
        with open(tmp_path / "app.log", "ab") as other:
            other.write("theirs\n".encode("utf-16-le" if sys.byteorder == "little" else "utf-16-be"))
        logger.info("ours again")
        assert (tmp_path / "app.log").read_text("utf-16") == "ours\ntheirs\nours again\n"

    def test_encoding_of_the_locale(self, make, logger, tmp_path, monkeypatch):
        """
        ``locale`` is the system's own encoding.
        """
        monkeypatch.setattr(locale, "getencoding", lambda: "latin-1")
        assert make(encoding="locale").encoding == "latin-1"
        logger.info("gr\xfcn")
        assert (tmp_path / "app.log").read_bytes() == b"gr\xfcn\n"

    def test_unknown_encoding(self, tmp_path):
        """
        An encoding that is none is an error at once, and leaves no handler behind.
        """
        before = registered()
        with pytest.raises(LookupError, match="utf-9"):
            SessionRotatingFileHandler(tmp_path / "app.log", encoding="utf-9")
        assert registered() == before
        assert listing(tmp_path) == {}

    @pytest.mark.parametrize("size", [10, 60, 1000])
    def test_one_record_for_each_opening(self, tmp_path, size):
        """
        Programs that open the file, write one record and close it, rotate as they do with the standard library's class.
        """
        found = []
        for cls in (logging.handlers.RotatingFileHandler, SessionRotatingFileHandler):
            directory = tmp_path / cls.__name__
            directory.mkdir()
            for number in range(30):
                handler = cls(directory / "app.log", maxBytes=size, backupCount=3, encoding="utf-8")
                handler.handle(logging.LogRecord("x", logging.INFO, __file__, 1, "record %d gr\xfcn", (number,), None))
                handler.close()
            found.append(listing(directory))
        assert found[0] == found[1]

    def test_formats_once(self, make, logger):
        """
        Each record is formatted once, though its size is asked for before it is written.
        """
        formatted = []

        class Formatter(logging.Formatter):
            def format(self, record: logging.LogRecord) -> str:
                formatted.append(record.getMessage())
                return super().format(record)

        handler = make(maxBytes=30, backupCount=3)
        handler.setFormatter(Formatter())
        for number in range(9):
            logger.info("record %d", number)
        assert formatted == [f"record {number}" for number in range(9)]

    def test_asked_beforehand(self, make, tmp_path):
        """
        Whoever asks for a record that is not being written learns whether it would start a new file.
        """
        handler = make(maxBytes=30, backupCount=3)
        short, long = (logging.LogRecord("x", logging.INFO, __file__, 1, "x" * size, (), None) for size in (5, 25))
        handler.handle(short)
        assert not handler.shouldRollover(short)
        assert handler.shouldRollover(long)
        with open(tmp_path / "app.log", "a") as other:
            other.write("y" * 20 + "\n")
        assert handler.shouldRollover(short)

    def test_delay(self, make, logger, tmp_path):
        """
        With *delay* the file is made with the first record, else at once; one that can't be opened is an error then.
        """
        make(delay=True)
        assert listing(tmp_path) == {}
        logger.info("hello")
        assert listing(tmp_path) == {"app.log": "hello\n"}
        (tmp_path / "app.log").unlink()
        make()
        assert listing(tmp_path) == {"app.log": ""}
        (tmp_path / "directory").mkdir()
        before = registered()
        with pytest.raises(OSError, match="directory"):
            SessionRotatingFileHandler(tmp_path / "directory")
        assert registered() == before

    def test_written_when_the_call_returns(self, make, logger, tmp_path):
        """
        It is synchronous: no flush is needed, and no thread runs.
        """
        make()
        for number in range(10):
            logger.info("record %d", number)
            assert (tmp_path / "app.log").read_text().endswith(f"record {number}\n")
        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("sessionlog")] == []

    def test_private(self, make, logger, tmp_path):
        """
        New files are their owner's alone, or as *file_mode* says.
        """
        make(maxBytes=10, backupCount=1)
        for _ in range(3):
            logger.info("0123456789")
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert modes == {0o600}
        (tmp_path / "app.log").unlink()
        make(file_mode=0o640)
        assert stat.S_IMODE((tmp_path / "app.log").stat().st_mode) == 0o640

    def test_without_backups_never_loses(self, make, logger, tmp_path):
        """
        With ``backupCount=0`` the file grows, whatever *maxBytes* and *when* are.
        """
        make(maxBytes=10, when="S")
        for number in range(100):
            logger.info("record %d", number)
        assert listing(tmp_path) == {"app.log": "".join(f"record {number}\n" for number in range(100))}

    def test_namer_and_rotator(self, make, logger, tmp_path):
        """
        The standard library's hooks name and make the old files.
        """

        def rotator(source: str, target: str) -> None:
            with open(source, "rb") as plain, gzip.open(target, "wb") as packed:
                shutil.copyfileobj(plain, packed)
            os.unlink(source)

        handler = make(maxBytes=20, backupCount=2)
        handler.namer = lambda name: name.replace("app.log.", "app-") + ".old"
        handler.rotator = rotator
        for number in range(8):
            logger.info("record %d", number)
        names = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock")
        assert names == ["app-1.old", "app-2.old", "app.log"]
        texts = [gzip.decompress((tmp_path / name).read_bytes()).decode() for name in ("app-2.old", "app-1.old")]
        assert texts == ["record 2\nrecord 3\n", "record 4\nrecord 5\n"]
        assert (tmp_path / "app.log").read_text() == "record 6\nrecord 7\n"

    def test_sizes_as_text(self, make, logger, tmp_path):
        """
        *maxBytes* may be written as people write sizes; what is none is an error.
        """
        assert make(maxBytes="5 KB", backupCount=1).maxBytes == 5120
        before = registered()
        with pytest.raises(ConfigurationError, match="lots"):
            SessionRotatingFileHandler(tmp_path / "app.log", maxBytes="lots")
        assert registered() == before

    def test_home(self, home, logger):
        """
        A leading ``~`` is the home directory.
        """
        handler = SessionRotatingFileHandler("~/app.log")
        handler.handle(logging.LogRecord("x", logging.INFO, __file__, 1, "hello", (), None))
        handler.close()
        assert (home / "app.log").read_text() == "hello\n"

    @pytest.mark.parametrize("when", ["S", "h", "midnight", "W3"])
    def test_time(self, make, logger, tmp_path, when):
        """
        A boundary since the last write starts a new file, once.
        """
        make(when=when, backupCount=3)
        logger.info("old")
        long_ago = time.time() - 8 * 86_400
        os.utime(tmp_path / "app.log", (long_ago, long_ago))
        logger.info("new")
        if when == "S":
            assert listing(tmp_path)["app.log.1"] == "old\n"
            return
        logger.info("newer")
        assert listing(tmp_path) == {"app.log": "new\nnewer\n", "app.log.1": "old\n"}

    def test_wrong_time(self, tmp_path):
        """
        A *when* that is no time unit is an error that lists them, and leaves no handler behind.
        """
        before = registered()
        with pytest.raises(
            ConfigurationError, match="'daily' is no time unit; choose S, M, H, D, midnight or W0 to W6"
        ):
            SessionRotatingFileHandler(tmp_path / "app.log", when="daily")
        assert registered() == before
        assert listing(tmp_path) == {}

    def test_closes_and_lives_again(self, make, logger, tmp_path):
        """
        Closing gives the descriptors back, any number of times; the next record opens the file again.
        """
        handler = make()
        before = len(os.listdir("/proc/self/fd"))
        for number in range(3):
            logger.info("record %d", number)
            handler.close()
            handler.close()
            assert len(os.listdir("/proc/self/fd")) <= before
        assert (tmp_path / "app.log").read_text() == "record 0\nrecord 1\nrecord 2\n"

    @pytest.mark.parametrize("what", ["deleted", "moved", "directory"])
    def test_taken_away(self, make, logger, tmp_path, what):
        """
        A file that somebody deletes or moves, with its directory even, is made again with the next record.
        """
        directory = tmp_path / "sub"
        directory.mkdir()
        handler = SessionRotatingFileHandler(directory / "app.log")
        logger.addHandler(handler)
        logger.info("before")
        if what == "deleted":
            (directory / "app.log").unlink()
        elif what == "moved":
            (directory / "app.log").rename(directory / "other.log")
        else:
            shutil.rmtree(directory)
        logger.info("after")
        assert (directory / "app.log").read_text() == "after\n"
        if what == "moved":
            assert (directory / "other.log").read_text() == "before\n"

    def test_trouble_goes_to_handle_error(self, make, logger, tmp_path, monkeypatch):
        """
        A record that can't be written goes to `handleError`, like the standard library's, and the next one is tried.
        """
        handler = make()
        failed = []
        monkeypatch.setattr(handler, "handleError", failed.append)
        (tmp_path / "app.log").unlink()
        (tmp_path / "app.log").mkdir()
        logger.info("lost")
        assert [record.getMessage() for record in failed] == ["lost"]
        (tmp_path / "app.log").rmdir()
        logger.info("written")
        assert (tmp_path / "app.log").read_text() == "written\n"

    def test_torn_line(self, make, logger, tmp_path):
        """
        What another program left without a line end is not joined with the next record.
        """
        (tmp_path / "app.log").write_bytes(b"torn")
        make()
        logger.info("whole")
        assert (tmp_path / "app.log").read_text() == "torn\nwhole\n"

    def test_lock_of_the_base_class(self):
        """
        `logging` takes and gives back the handler's lock by its own methods, which nothing here covers up.
        """
        for name in ("acquire", "release", "handle", "createLock"):
            assert getattr(SessionRotatingFileHandler, name) is getattr(logging.Handler, name)

    def test_threads(self, make, logger, tmp_path):
        """
        Records of 8 threads are in the files once each, in each thread's order.
        """
        make(maxBytes=5_000, backupCount=50)
        with watchdog(60), ThreadPoolExecutor(8) as executor:
            for who in range(8):
                executor.submit(lambda who=who: [logger.info("%d %d", who, number) for number in range(200)])
        files = sorted(
            (path for path in tmp_path.iterdir() if path.suffix != ".lock"),
            key=lambda path: -int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0,
        )
        written = [line for path in files for line in path.read_text().splitlines()]
        assert len(written) == 1_600
        for who in range(8):
            assert [line for line in written if line.startswith(f"{who} ")] == [f"{who} {n}" for n in range(200)]

    @pytest.mark.root
    def test_character_device(self, tmp_path):
        """
        A character device is written to and never rotated, not even when asked for by hand.
        """
        device = tmp_path / "null"
        try:
            os.mknod(device, 0o600 | stat.S_IFCHR, os.stat(os.devnull).st_rdev)
            with open(device, "wb"):
                pass
        except OSError:
            pytest.skip("no device can be made here")
        handler = SessionRotatingFileHandler(device, maxBytes=10, backupCount=2, when="S")
        failed = []
        handler.handleError = failed.append
        record = logging.LogRecord("x", logging.INFO, __file__, 1, "0123456789", (), None)
        for _ in range(5):
            handler.handle(record)
            assert not handler.shouldRollover(record)
        handler.doRollover()
        handler.handle(record)
        handler.close()
        assert failed == []
        assert stat.S_ISCHR(os.lstat(device).st_mode)
        assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["null"]


PROGRAM = """
import logging, sys
from concurrent_log_handler import ConcurrentRotatingFileHandler
from sessionlog_handlers import SessionRotatingFileHandler
cls, path, who = globals()[sys.argv[1]], sys.argv[2], sys.argv[3]
handler = cls(path, "a", maxBytes=2000, backupCount=500, encoding="utf-8")
log = logging.getLogger("app")
log.addHandler(handler)
log.setLevel(logging.INFO)
for number in range(300):
    log.info("%s %d", who, number)
"""


class TestOneFileManyProcesses:
    def test_beside_concurrent_log_handler(self, tmp_path):
        """
        Processes with this handler and with concurrent-log-handler's write one rotating file, and nothing is lost.
        """
        kinds = [SessionRotatingFileHandler.__name__, ConcurrentRotatingFileHandler.__name__] * 2

        def run(who: int) -> None:
            run_python(PROGRAM, kinds[who], tmp_path / "app.log", str(who), check=True, timeout=40)

        with ThreadPoolExecutor(4) as executor:
            for future in [executor.submit(run, who) for who in range(4)]:
                future.result()
        files = [path for path in tmp_path.iterdir() if path.suffix != ".lock" and not path.name.startswith(".")]
        assert len(files) > 2
        written = [line for path in files for line in path.read_text("utf-8").splitlines()]
        assert sorted(written) == sorted(f"{who} {number}" for who in range(4) for number in range(300))
        assert max(path.stat().st_size for path in files) < 2020

    def test_forked_child(self, tmp_path):
        """
        A forked child and its parent write on, into the same rotating file, and nothing is lost.
        """
        run_python(
            """
import logging, os, sys
from sessionlog_handlers import SessionRotatingFileHandler
handler = SessionRotatingFileHandler(sys.argv[1], maxBytes=1000, backupCount=100)
log = logging.getLogger("app")
log.addHandler(handler)
log.setLevel(logging.INFO)
log.info("parent before")
child = os.fork()
who = "parent" if child else "child"
for number in range(200):
    log.info("%s %d", who, number)
if not child:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
log.info("parent after")
""",
            tmp_path / "app.log",
            timeout=30,
            check=True,
        )
        files = [path for path in tmp_path.iterdir() if path.suffix != ".lock"]
        written = [line for path in files for line in path.read_text().splitlines()]
        expected = [f"{who} {number}" for who in ("parent", "child") for number in range(200)]
        assert sorted(written) == sorted([*expected, "parent before", "parent after"])
