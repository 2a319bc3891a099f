"""Asks a PostgreSQL server by psycopg, and prints what it is answered.

Usage: by_psycopg.py PORT KEY ASKS
"""

import asyncio
import json
import sys
import threading
from decimal import Decimal

import psycopg
from psycopg.types import TypeInfo

from shared import COPIED, ENDLESS, asks, failed, rows


def answer(cursor, sql, values):
    try:
        return rows(cursor.execute(sql, values, prepare=True).fetchall())
    except psycopg.Error as error:
        return failed(error)


def code(call):
    try:
        call()
    except psycopg.Error as error:
        return error.sqlstate
    return None


def tried(call):
    try:
        return call()
    except psycopg.Error as error:
        return failed(error)


def goes_on(connection):
    with connection.transaction():
        code(lambda: inner(connection))
        return connection.execute("select 1").fetchone()[0]


def inner(connection):
    with connection.transaction():
        connection.execute("select nothing from clicks")


def pipelined(connection, all):
    with connection.pipeline():
        cursors = [psycopg.RawCursor(connection) for _ in all]
        for cursor, (sql, values) in zip(cursors, all):
            cursor.execute(sql, values)
        return [rows(cursor.fetchall()) for cursor in cursors]


def copied(connection):
    with connection.cursor().copy(f"copy ({COPIED}) to stdout (format csv, header)") as copy:
        return b"".join(copy).decode()


def below(connection, number):
    return connection.execute("select count(*) from clicks_minute where clicks < %s", [number]).fetchone()[0]


def numbers(connection, name):
    kind = TypeInfo.fetch(connection, name)
    return kind and [kind.oid, kind.array_oid]


async def by_async(dsn, all):
    async with await psycopg.AsyncConnection.connect(dsn, cursor_factory=psycopg.AsyncRawCursor) as connection:
        answers = []
        for sql, values in all:
            answers.append(rows(await (await connection.execute(sql, values)).fetchall()))
        return answers


def main(port, key, path):
    dsn = f"host=127.0.0.1 port={port} user=someone dbname=clicklake require_auth=scram-sha-256 connect_timeout=20"
    all = asks(path)
    found = {"asked": {}, "wrong_key": None}
    try:
        psycopg.connect(dsn, password="wrong")
    except psycopg.OperationalError as error:
        found["wrong_key"] = "28P01" if "is no key" in str(error) else str(error)
    dsn += f" password={key}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        for binary in False, True:
            cursor = psycopg.RawCursor(connection)
            cursor.format = psycopg.pq.Format(binary)
            found["asked"]["binary" if binary else "text"] = [answer(cursor, *ask) for ask in all]
        found["asked"]["pipeline"] = tried(lambda: pipelined(connection, all[:3]))
        found["asked"]["async"] = tried(lambda: asyncio.run(by_async(dsn, all[:3])))
        found["copied"] = tried(lambda: copied(connection))
        timer = threading.Timer(0.3, connection.cancel_safe)
        timer.start()
        found["cancelled"] = code(lambda: connection.execute(ENDLESS))
        timer.join()
        connection.execute("set statement_timeout to '300ms'")
        found["timed_out"] = code(lambda: connection.execute(ENDLESS))
        found["refused"] = code(lambda: connection.execute("delete from clicks"))
        found["unknown"] = code(lambda: connection.execute("select nothing from clicks"))
        found["goes_on"] = tried(lambda: goes_on(connection))
        found["own"] = {
            "timestamptz": tried(lambda: numbers(connection, "timestamptz")),
            "below": [tried(lambda: below(connection, number)) for number in (10.5, Decimal("10.5"), Decimal("0.05"))],
        }
    json.dump(found, sys.stdout)


main(*sys.argv[1:])
