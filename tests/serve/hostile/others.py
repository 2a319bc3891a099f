"""Asks as many keys at a steady rate, over HTTP and over the PostgreSQL wire, until standard input ends:
others.py HTTP POSTGRES SECONDS KEY=CAMPAIGN …. Each key asks once in so many seconds, by turns. A line `ready` says that
all are connected; then each answer is a line: what was asked, the seconds that it took, and `ok`, or why it failed. The
lake must not change meanwhile, and so no answer may.

What this program itself was kept from running, on a machine that others use too, does not count as the server's time.
"""

import asyncio
import os
import sys
import time

import psycopg

# How long anyone waits for an answer.
PATIENCE = 60.0

# What is asked over the wire, by a key that sees one campaign.
STATEMENTS = {
    "sql totals": "select sum(clicks), sum(cost_micros) from totals(null, null)",
    "sql top": "select ad_id, sum(clicks) from clicks_minute group by ad_id order by 2 desc, 1 limit 5",
    "sql clicks": "select count(*) from clicks where campaign_id = %s",
}

# What is asked over HTTP, of a campaign.
TARGETS = {
    "http total": "/v1/total?campaign={}",
    "http top": "/v1/top?by=ad&n=5&campaign={}",
    "http series": "/v1/series?granularity=day&campaign={}",
}

# How often it is looked whether this program runs, in seconds.
LOOK = 0.02

# Of so many questions over the wire, one is asked on a new connection.
CONNECTS_EVERY = 6


async def get(connection, host, target, key):
    """The status and the body of an answer, by HTTP/1.1."""
    reader, writer = connection
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    return int(lines[0].split(" ")[1]), await reader.readexactly(int(headers["content-length"]))


class Lag:
    """How long this program has not run when it wanted to, all together."""

    seconds = 0.0

    async def watch(self):
        while True:
            began = time.monotonic()
            await asyncio.sleep(LOOK)
            self.seconds += max(0.0, time.monotonic() - began - 2 * LOOK)


LAG = Lag()


class Other:
    """A key, and what it has been answered."""

    def __init__(self, number, http, postgres, key, campaign):
        self.number, self.http, self.postgres, self.key, self.campaign = number, http, postgres, key, campaign
        self.known = {}

    async def begin(self):
        await self.connect()
        host, port = self.http.rsplit(":", 1)
        self.open = await asyncio.open_connection(host, int(port))

    async def connect(self):
        host, port = self.postgres.rsplit(":", 1)
        self.connection = await psycopg.AsyncConnection.connect(
            host=host, port=int(port), user="other", password=self.key, dbname="clicklake", autocommit=True
        )

    async def ask(self, what):
        if what == "sql connect":
            await self.connection.close()
            await self.connect()
            return None
        if what in STATEMENTS:
            statement = STATEMENTS[what]
            answer = await self.connection.execute(statement, [self.campaign] if "%s" in statement else None)
            return await answer.fetchall()
        status, body = await get(self.open, self.http, TARGETS[what].format(self.campaign), self.key)
        if status != 200:
            raise RuntimeError(f"{status}: {body[:300]!r}")
        return body

    async def one(self, what, patience):
        """Asks, and says what came of it."""
        began, lag = time.monotonic(), LAG.seconds
        try:
            answer = await asyncio.wait_for(self.ask(what), patience)
            outcome = (
                "ok" if self.known.setdefault(what, answer) == answer else f"{answer!r} after {self.known[what]!r}"
            )
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}".replace("\n", " ")
        ended = time.monotonic()
        if ended - began > 10 * LOOK:
            # What has kept this answer may have kept the look at it.
            await asyncio.sleep(2 * LOOK)
        took = max(0.0, ended - began - (LAG.seconds - lag))
        print(f"{what}\t{took:.4f}\t{outcome}", flush=True)
        if outcome != "ok":
            # Whatever it was, the next question is a new one.
            await asyncio.wait_for(self.begin(), patience)

    async def go_on(self, every, others):
        turns = [*TARGETS, *STATEMENTS]
        await asyncio.sleep(every * self.number / others)
        start, asked = time.monotonic(), self.number
        while True:
            what = turns[asked % len(turns)]
            if what in STATEMENTS and asked // len(turns) % CONNECTS_EVERY == 0:
                await self.one("sql connect", PATIENCE)
            await self.one(what, PATIENCE)
            asked += 1
            await asyncio.sleep(max(0.0, start + (asked - self.number) * every - time.monotonic()))


async def main(http, postgres, every, *keys):
    others = [Other(number, http, postgres, *key.split("=", 1)) for number, key in enumerate(keys)]
    for other in others:
        await other.begin()
        # What is asked first makes a session, and reads the log.
        for what in [*STATEMENTS, *TARGETS]:
            other.known[what] = await asyncio.wait_for(other.ask(what), PATIENCE)
    print("ready", flush=True)
    tasks = [asyncio.ensure_future(LAG.watch())]
    tasks += [asyncio.ensure_future(other.go_on(float(every), len(others))) for other in others]
    end = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    done, _ = await asyncio.wait([end, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task in done:
            task.result()
    # What is under way is nobody's answer any more.
    os._exit(0)


asyncio.run(main(*sys.argv[1:]))
