"""
A chat over TCP with a log for each client. What it knows of sessionlog_handlers is a YAML file and `start_session`.

    python examples/chat_server.py --port 7000          and then          nc 127.0.0.1 7000

The first line that a client sends is its name. Every later line goes to all others, but for these:
`/ask 6 * 7` asks the calculator, `/nick NAME` takes another name, `/quit` leaves.
"""

import argparse
import ast
import asyncio
import itertools
import logging.config
import operator
import signal
from pathlib import Path

import yaml

from sessionlog_handlers import start_session

log = logging.getLogger("chat")

MAX_MESSAGE = 500  # bytes
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def calculate(question):
    def value(node):
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        raise ValueError("only numbers, + - * / and brackets")

    return value(ast.parse(question.strip(), mode="eval").body)


class Client:
    def __init__(self, nick, session, writer):
        self.nick = nick
        self.session = session
        self.writer = writer
        self.end_reason = "disconnected"

    def send(self, text):
        content = text.encode() + b"\n"
        self.session.output(content)
        self.writer.write(content)

    def leave(self, reason):
        self.end_reason = reason
        self.writer.close()  # its reader then comes to an end


class ChatServer:
    def __init__(self):
        self.clients = {}
        self.handlers = set()
        self.numbers = itertools.count(1)

    async def handle(self, reader, writer):
        self.handlers.add(asyncio.current_task())
        try:
            await self.serve(reader, writer)
        finally:
            writer.close()
            self.handlers.discard(asyncio.current_task())

    async def serve(self, reader, writer):
        peer = "{}:{}".format(*writer.get_extra_info("peername")[:2])
        log.info("connection from %s", peer)  # no session yet, so it goes to the default one
        nick = (await reader.readline()).decode(errors="replace").strip()
        if not nick or nick in self.clients:
            log.warning("%s asked for the name %r and was sent away", peer, nick)
            return

        with start_session(f"{nick}-{next(self.numbers)}", metadata={"nick": nick, "peer": peer}) as session:
            client = self.clients[nick] = Client(nick, session, writer)
            session.event("client_attached", peer=peer)
            client.send(f"welcome, {nick}; {len(self.clients)} here")
            try:
                while line := await reader.readline():
                    session.input(line)
                    self.take(client, line.decode(errors="replace").rstrip("\r\n"))
            except (ConnectionError, ValueError) as error:  # ValueError: a line without end
                session.error(error)
                client.end_reason = "connection lost"
            finally:
                del self.clients[client.nick]
                session.event("client_detached")
                session.end(client.end_reason)

    def take(self, client, text):
        command, _, rest = text.partition(" ")
        if command == "/ask":
            self.ask(client, rest)
        elif command == "/nick":
            self.rename(client, rest.strip())
        elif command == "/quit":
            client.leave("quit")
        else:
            self.broadcast(client, text)

    def ask(self, client, question):
        client.session.prompt(question)
        try:
            client.send(f"= {calculate(question):g}")
        except Exception as error:
            client.session.error(error, question=question)
            client.send(f"can't say: {error}")
        else:
            client.session.event("completion")

    def rename(self, client, nick):
        if not nick or nick in self.clients:
            log.warning("the name %r is taken", nick)
            return
        client.session.event("nick_changed", old=client.nick, new=nick)
        self.clients[nick] = self.clients.pop(client.nick)
        client.nick = nick

    def broadcast(self, sender, text):
        if len(text) > MAX_MESSAGE:
            log.warning("a message of %d characters was cut", len(text))
            text = text[:MAX_MESSAGE]
        sender.session.event("message", length=len(text), receivers=len(self.clients) - 1)
        log.debug("%s says %r", sender.nick, text)
        for client in self.clients.values():
            if client is not sender:
                client.send(f"{sender.nick}: {text}")

    async def run(self, port):
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        server = await asyncio.start_server(self.handle, "127.0.0.1", port)
        print(f"listening on port {server.sockets[0].getsockname()[1]}", flush=True)
        await stopping.wait()
        server.close()
        log.info("stopping with %d clients", len(self.clients))
        for client in [*self.clients.values()]:
            client.leave("server stopped")
        await asyncio.gather(*self.handlers, return_exceptions=True)


def main():
    parser = argparse.ArgumentParser(description="A chat over TCP with a log for each client.")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes any that is free")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_suffix(".yaml"))
    arguments = parser.parse_args()
    logging.config.dictConfig(yaml.safe_load(arguments.config.read_text()))
    asyncio.run(ChatServer().run(arguments.port))


if __name__ == "__main__":
    main()
