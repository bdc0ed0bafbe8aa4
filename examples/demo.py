"""
Twenty clients talk over TCP to `chat_server.py`; then see what that left on the disk. `make demo` runs it.

    python examples/demo.py [DIRECTORY]

DIRECTORY (default: demo-logs) is made anew. The exit code says whether everything that should be there is there.
"""

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = [
    *("ada", "alan", "alonzo", "annie", "barbara", "claude", "dennis", "donald", "edsger", "frances"),
    *("grace", "john", "kathleen", "ken", "leslie", "linus", "margaret", "niklaus", "radia", "tim"),
]
STEP = 10.0  # seconds that anything here may take
SHOWN = 2  # sessions whose files are listed one by one
COLOURS = {"title": "1;36", "command": "1", "good": "32", "bad": "1;31", "dim": "2"} if sys.stdout.isatty() else {}

directory = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-logs").resolve()
logs = directory / "chat-logs"
environment = {
    **{name: value for name, value in os.environ.items() if not name.startswith("SESSIONLOG_")},
    "SESSIONLOG_HOME": str(directory / ".sessionlog"),
}


def paint(kind, text):
    return f"\x1b[{COLOURS[kind]}m{text}\x1b[0m" if kind in COLOURS else text


def title(text):
    print(f"\n{paint('title', text)}\n")


def shorten(line):
    width = shutil.get_terminal_size().columns - 2 if COLOURS else 150
    return line if len(line) <= width else line[: width - 1] + "…"


def sessionlog(*arguments, lines=None):
    print(paint("command", f"$ sessionlog {' '.join(arguments)}"), flush=True)
    command = [sys.executable, "-m", "sessionlog_handlers", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=directory, text=True, capture_output=True, timeout=STEP, check=False
    )
    output = (done.stdout + done.stderr).rstrip("\n").split("\n")
    for line in output[:lines]:
        print(f"  {shorten(line)}")
    if lines and len(output) > lines:
        print(paint("dim", f"  … {len(output) - lines} more lines"))
    return done


def records_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def directory_of(name):
    return next(logs.glob(f"{name}-*"), logs / name)


class Talker:
    def __init__(self, name):
        self.name = name

    async def connect(self, port):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        await self.say(self.name)
        return await self.hear("welcome")

    async def say(self, text):
        self.writer.write(f"{text}\n".encode())
        await self.writer.drain()

    async def hear(self, wanted):
        while line := (await asyncio.wait_for(self.reader.readline(), STEP)).decode():
            if wanted in line:
                return line
        raise RuntimeError(f"{self.name} was cut off before it heard {wanted!r}")


async def talk(port, server):
    talkers = [Talker(name) for name in NAMES]
    await asyncio.gather(*(talker.connect(port) for talker in talkers))
    print(f"{len(talkers)} clients are connected.")
    await asyncio.gather(*(talker.say(f"hello from {talker.name}") for talker in talkers))
    await asyncio.gather(*(talkers[0].hear(f"hello from {name}") for name in NAMES[1:2]))
    by_name = {talker.name: talker for talker in talkers}

    await until(lambda: (directory_of("grace") / "metadata.json").exists(), "the first lines")
    grace = directory_of("grace").name
    print(f"One of them, {grace}, is worth a closer look; another process asks for it, and the server goes on:\n")
    raised = await asyncio.to_thread(sessionlog, "level", grace, "full")
    if raised.returncode == 0:
        await until(lambda: '"level_change"' in (logs / grace / "session.log").read_text(), "the level change")

    await asyncio.gather(*(talker.say(f"{talker.name} goes on talking") for talker in talkers[:5]))
    await by_name["grace"].say("/ask 6 * 7")
    await by_name["grace"].hear("= 42")
    await by_name["grace"].say("/ask 1 / 0")
    await by_name["grace"].hear("can't say")
    await by_name["ken"].say("/nick kenneth")
    await by_name["radia"].say("/quit")
    by_name["linus"].writer.transport.abort()  # as a broken connection would
    for talker in talkers[:5]:
        talker.writer.close()
    await asyncio.sleep(0.3)
    print(f"\nSome left. The server is told to stop (SIGTERM) with {len(talkers) - 7} clients connected.")
    server.send_signal(signal.SIGTERM)
    async with asyncio.timeout(STEP):  # the others stay until it hangs up
        await asyncio.gather(*(talker.reader.read() for talker in talkers[5:]), return_exceptions=True)
    for talker in talkers:
        talker.writer.close()
    return raised


async def until(condition, what):
    for _ in range(int(STEP / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"waited {STEP:g} s in vain for {what}")


def show_tree():
    shown = sorted(path for path in logs.iterdir() if path.is_dir() and not path.name.startswith("."))
    for path in [directory_of("grace"), *(path for path in shown if path != directory_of("grace"))][:SHOWN]:
        print(f"  {mode(path)}           {path.relative_to(directory)}/")
        for file in sorted(path.iterdir()):
            print(f"  {mode(file)} {file.stat().st_size:>9,}   {' ' * len(logs.name)} {file.name}")
    rest = [file for path in shown for file in path.iterdir()]
    size = sum(file.stat().st_size for file in rest)
    print(paint("dim", f"  … {len(shown)} sessions, {len(rest)} files, {size:,} bytes in all"))


def mode(path):
    return stat.filemode(path.stat().st_mode)


def check(raised, listed, shown, server):
    def is_whole(path):
        events = [record["event"] for record in records_of(path / "session.log")]
        return events[0] == "session_start" and events[-1] == "session_end" and events.count("session_end") == 1

    sessions = [directory_of(name) for name in NAMES]
    found = [path for path in logs.iterdir() if not path.name.startswith(".") and path.name != "server"]
    grace = records_of(directory_of("grace") / "session.log")
    change = next((index for index, record in enumerate(grace) if record["event"] == "level_change"), -1)
    reasons = {name: records_of(directory_of(name) / "session.log")[-1]["data"]["reason"] for name in NAMES}
    yield "the server stopped in good order", server.returncode == 0
    yield (
        "20 clients, 20 sessions, each with one start and one end",
        (sorted(found) == sorted(sessions) and all(map(is_whole, sessions))),
    )
    yield (
        "`sessionlog level` changed one of them, and only that one",
        raised.returncode == 0
        and [path.name for path in sessions if '"level_change"' in (path / "session.log").read_text()]
        == [directory_of("grace").name],
    )
    yield (
        "its bytes are there from then on, not before",
        (
            change > 0
            and not any(record["event"] == "output" for record in grace[:change])
            and any(record["event"] == "output" for record in grace[change:])
        ),
    )
    yield "each end line has its reason", reasons["radia"] == "quit" and reasons["tim"] == "server stopped"
    yield (
        "files are private",
        all(stat.S_IMODE(file.stat().st_mode) == 0o600 for path in sessions for file in path.iterdir()),
    )
    yield (
        "`sessionlog show` and `sessionlog ls` know them",
        (shown.returncode == listed.returncode == 0 and all(path.name in listed.stdout for path in sessions)),
    )


def main():
    if directory.exists():
        if any(directory.iterdir()) and not (directory / ".sessionlog").is_dir():
            print(f"{directory} is not of an earlier demo; name another directory", file=sys.stderr)
            return 2
        shutil.rmtree(directory)
    directory.mkdir(parents=True)

    title("A chat server with a log for each client")
    command = [sys.executable, str(HERE / "chat_server.py")]
    with subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            ready = server.stdout.readline()  # listening on port N
            if not ready:
                print("the server did not start")
                return 1
            port = int(ready.split()[-1])
            print(f"examples/chat_server.py runs as process {server.pid} on port {port}; its logs are in {logs}.")
            raised = asyncio.run(talk(port, server))
            server.wait(STEP)
        finally:
            server.kill()

    grace = directory_of("grace")
    title("What is on the disk")
    show_tree()
    title("One session's log")
    shown = sessionlog("show", grace.name, lines=30)
    title("Its audit trail: what its user did, and what the system did")
    for side in ("user", "system"):
        print(paint("command", f"$ cat {(grace / f'audit_{side}.log').relative_to(directory)}"))
        for line in (grace / f"audit_{side}.log").read_text().splitlines():
            print(f"  {shorten(line)}")
    title("All sessions")
    listed = sessionlog("ls")

    title("Is everything there?")
    results = list(check(raised, listed, shown, server))
    for what, good in results:
        print(f"  {paint('good', 'yes') if good else paint('bad', 'NO ')}  {what}")
    print(f"\nLook around: {logs}\n")
    return 0 if all(good for _, good in results) else 1


if __name__ == "__main__":
    sys.exit(main())
