"""Means harm, over the PostgreSQL wire, with one key: attack.py HOST:PORT KEY SEED [KIND …]. Many clients at once ask
what grammar.py makes up, and conduct themselves badly. They go on until standard input ends, and then print what became
of it all, as JSON; a statement after which a process of SQL was gone is said on standard error at once.

For some seconds all are fond of a few kinds of statements (the ones that are named, if any are), then of others: if all
did everything, those that end their process at once would hide what the others do when they go on for long.

It speaks the protocol itself: no driver leaves an answer unread, or says the same name twice.
"""

import asyncio
import collections
import json
import logging
import os
import random
import struct
import sys
import time

from grammar import KINDS, Grammar

# Clients at once: less than the quarter of all connections that one key may have.
CLIENTS = 24

# How long a client waits for an answer: longer than the server gives a statement.
PATIENCE = 90.0

# Statements of a connection, at most.
STATEMENTS = 8

# For how long the clients are fond of the same kinds of statements, in seconds, and of how many.
ROUND = 5.0
FOND_OF = 3

# What is read of an answer at once.
CHUNK = 1 << 16


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def text(value):
    return value.replace("\0", "").encode("utf-8", "replace") + b"\0"


def parse(name, statement):
    return message(b"P", text(name) + text(statement) + struct.pack("!h", 0))


def bind(portal, name, values):
    sized = b"".join(struct.pack("!i", len(value)) + value for value in values)
    return message(b"B", text(portal) + text(name) + struct.pack("!hh", 0, len(values)) + sized + struct.pack("!h", 0))


def execute(portal, rows=0):
    return message(b"E", text(portal) + struct.pack("!i", rows))


SYNC = message(b"S")


class Gone(Exception):
    """The server has closed the connection."""


class Connection:
    """A connection, as far as the protocol goes."""

    async def open(self, host, port, key):
        self.reader, self.writer = await asyncio.wait_for(asyncio.open_connection(host, port), PATIENCE)
        startup = struct.pack("!i", 196608) + b"user\0hostile\0database\0clicklake\0\0"
        self.send(struct.pack("!i", len(startup) + 4) + startup)
        self.cancel_key = None
        while True:
            kind, body = await self.next()
            if kind == b"R" and body[:4] == b"\0\0\0\3":
                self.send(message(b"p", text(key)))
            elif kind == b"K":
                self.cancel_key = body
            elif kind == b"E":
                raise Gone(sqlstate(body))
            elif kind == b"Z":
                return self

    def send(self, data):
        self.writer.write(data)

    async def next(self):
        try:
            head = await asyncio.wait_for(self.reader.readexactly(5), PATIENCE)
            left = struct.unpack("!i", head[1:])[0] - 4
            body = b""
            # What is large is not kept: only errors are looked at.
            while left > 0:
                part = await asyncio.wait_for(self.reader.read(min(left, CHUNK)), PATIENCE)
                if not part:
                    raise Gone("closed")
                left -= len(part)
                body = body + part if len(body) < CHUNK else body
            return head[:1], body
        except asyncio.IncompleteReadError as error:
            raise Gone("closed") from error
        except OSError as error:
            raise Gone("reset") from error

    async def until_ready(self):
        """What the answer is: an error's code, or `rows`."""
        found = "rows"
        while True:
            kind, body = await self.next()
            if kind == b"E":
                found = sqlstate(body)
                if b"FATAL" in body:
                    raise Gone(found)
            elif kind == b"G":
                self.send(message(b"d", b"x\n") + message(b"c"))
            elif kind == b"Z":
                return found

    def drop(self):
        self.writer.transport.abort()


def sqlstate(body):
    for field in body.split(b"\0"):
        if field[:1] == b"C":
            return field[1:].decode()
    return "?"


class Client:
    def __init__(self, host, port, key, seed, fond_of, found):
        self.address, self.key, self.fond_of = (host, port), key, fond_of
        self.grammar = Grammar(seed)
        self.random = random.Random(f"{seed} conduct")
        self.found = found
        self.under_way = None

    async def run(self):
        while True:
            connection = Connection()
            try:
                await connection.open(*self.address, self.key)
                for _ in range(self.random.randint(1, STATEMENTS)):
                    await self.ask(connection)
                connection.send(message(b"X"))
            except Gone as gone:
                self.count("connection", str(gone))
                await asyncio.sleep(0.2)
            except (OSError, asyncio.TimeoutError) as error:
                self.count("connection", type(error).__name__)
                await asyncio.sleep(0.2)
            finally:
                if hasattr(connection, "writer"):
                    connection.drop()

    def count(self, kind, outcome):
        self.found[kind][outcome] += 1

    async def ask(self, connection):
        kind, statement = self.grammar.statement(self.fond_of())
        conduct = self.random.choices(
            [
                self.simple,
                self.extended,
                self.parts,
                self.cancelled,
                self.dropped,
                self.unread,
                self.slowly,
                self.many,
                self.garbage,
            ],
            [30, 20, 8, 12, 8, 4, 3, 6, 3],
        )[0]
        self.under_way, began = (kind, conduct.__name__, statement), time.monotonic()
        try:
            outcome = await conduct(connection, statement)
        except Gone as gone:
            outcome = str(gone)
            if outcome in ("53200", "57014", "54001", "57P02", "closed", "XX000"):
                self.tell(outcome, time.monotonic() - began)
            raise
        finally:
            self.under_way = None
        self.count(kind, outcome)
        if outcome == "XX000":
            self.tell_of(kind, conduct.__name__, statement, outcome, time.monotonic() - began)

    def tell(self, outcome, seconds):
        self.count(self.under_way[0], "lost " + outcome)
        self.tell_of(*self.under_way, outcome, seconds)

    def tell_of(self, kind, conduct, statement, outcome, seconds):
        shown = (
            statement if len(statement) <= 600 else f"{statement[:400]} … {statement[-100:]} ({len(statement)} letters)"
        )
        print(
            f"{time.strftime('%X')} {outcome} after {seconds:.1f} s: {kind}, {conduct}: {shown!r}",
            file=sys.stderr,
            flush=True,
        )

    # Conducts: what comes of a statement, or `Gone`.

    async def simple(self, connection, statement):
        connection.send(message(b"Q", text(statement)))
        return await connection.until_ready()

    async def extended(self, connection, statement):
        name = self.random.choice(["", "", "s", f"s{self.random.randint(0, 10**6)}"])
        sizes = [(0, 0), (0, 0), (0, 0), (1, 1), (2, 400_000), (3, 500_000), (500, 1_000), (30_000, 10)]
        count, length = self.random.choice(sizes)
        values = [b"x" * length] * count
        if values and self.random.random() < 0.5:
            statement = "select " + ", ".join(
                f"length($1::text || ${at % len(values) + 1}::text) as c{at}" for at in range(len(values))
            )
        connection.send(parse(name, statement) + message(b"D", b"S" + text(name)))
        connection.send(bind("", name, values) + message(b"D", b"P\0") + execute("") + SYNC)
        return await connection.until_ready()

    async def parts(self, connection, statement):
        """Portals that are read in part and left open."""
        connection.send(message(b"Q", text("begin")))
        await connection.until_ready()
        for at in range(self.random.choice([1, 3, 20])):
            name = f"p{at}"
            connection.send(parse(name, statement) + bind(name, name, []) + execute(name, 1) + message(b"H"))
        connection.send(SYNC)
        return await connection.until_ready()

    async def cancelled(self, connection, statement):
        connection.send(message(b"Q", text(statement)))
        answer = asyncio.ensure_future(connection.until_ready())
        try:
            await asyncio.sleep(self.random.choice([0, 0.01, 0.1, 1, 3]))
            _, writer = await asyncio.open_connection(*self.address)
            writer.write(struct.pack("!ii", 8 + len(connection.cancel_key), 80877102) + connection.cancel_key)
            await writer.drain()
            writer.close()
            return await answer
        finally:
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)

    async def dropped(self, connection, statement):
        whole = message(b"Q", text(statement))
        connection.send(whole[: self.random.choice([len(whole), len(whole), len(whole) // 2, 3])])
        await asyncio.sleep(self.random.choice([0, 0.01, 0.3, 2]))
        if self.random.random() < 0.5 and connection.writer.can_write_eof():
            connection.writer.write_eof()
            await asyncio.sleep(1)
        connection.drop()
        raise Gone("dropped")

    async def unread(self, connection, statement):
        """Many rows, and nobody reads them."""
        connection.writer.transport.pause_reading()
        statement = self.random.choice(
            [
                statement,
                "select value, repeat('x', 1000) from generate_series(1, 100000000)",
                "copy (select value, repeat('y', 100000) from generate_series(1, 1000000)) to stdout",
            ]
        )
        connection.send(message(b"Q", text(statement)))
        await asyncio.sleep(self.random.choice([1, 10, 70]))
        raise Gone("unread")

    async def slowly(self, connection, statement):
        """A message of which each letter is waited for."""
        for letter in message(b"Q", text(statement))[:60]:
            connection.send(bytes([letter]))
            await asyncio.sleep(0.1)
        raise Gone("slow")

    async def many(self, connection, statement):
        """Many messages at once, before any is answered, and statements that are kept."""
        times = self.random.choice([2, 50, 1_000])
        if times * len(statement) > 1 << 24:
            times = 2
        connection.send(b"".join(parse(f"m{at}", statement) for at in range(times)) + SYNC)
        return await connection.until_ready()

    async def garbage(self, connection, statement):
        """What is no message of the protocol."""
        connection.send(
            self.random.choice(
                [
                    self.random.randbytes(1_000),
                    message(b"Q", statement.encode("utf-8", "replace")),
                    b"Q\x7f\xff\xff\xff" + b"x" * 100_000,
                    b"Q\0\0\0\0",
                    b"Q\xff\xff\xff\xff",
                    message(b"B", b"\0\0\x7f\xff"),
                    message(b"E", b"x"),
                    message(b"d", b"x" * 900_000),
                    message(b"F", b"\0" * 20),
                    message(b"p", b"x\0"),
                    message(b"C", b"Q"),
                    SYNC * 10_000,
                    message(b"D", b"S\0") * 1_000,
                    message(b"Q", b"\xff\xfe select 1\0"),
                    parse("", statement)[:-2] + struct.pack("!h", 32_000),
                ]
            )
            + SYNC
        )
        return await asyncio.wait_for(connection.until_ready(), 5)


async def main(address, key, seed, *kinds):
    host, port = address.rsplit(":", 1)
    began = time.monotonic()

    def fond_of():
        number = int((time.monotonic() - began) / ROUND)
        return kinds or random.Random(f"{seed} round {number}").sample(KINDS, FOND_OF)

    found = collections.defaultdict(collections.Counter)
    clients = [Client(host, int(port), key, f"{seed} {number}", fond_of, found) for number in range(CLIENTS)]
    tasks = [asyncio.ensure_future(client.run()) for client in clients]
    end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([end, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()
    print(json.dumps({kind: dict(outcomes) for kind, outcomes in found.items()}), flush=True)
    # Without a word to anyone.
    os._exit(0)


# Whoever means harm has a machine of their own, and does not take the server's by asking.
os.nice(19)
# That a connection is gone, they find out by themselves.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)
asyncio.run(main(*sys.argv[1:]))
