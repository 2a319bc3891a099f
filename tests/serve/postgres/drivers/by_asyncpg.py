"""Asks a PostgreSQL server by asyncpg, and prints what it is answered.

Usage: by_asyncpg.py PORT KEY ASKS
"""

import asyncio
import io
import json
import sys

import asyncpg

from shared import COPIED, ENDLESS, asks, failed, rows


async def tried(call):
    try:
        return await call
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return failed(error)


async def answer(connection, sql, values):
    return rows(await connection.fetch(sql, *values))


async def by_cursor(connection, sql, values):
    async with connection.transaction(readonly=True):
        return rows([row async for row in connection.cursor(sql, *values, prefetch=1)])


async def copied(connection, sql, *values, **options):
    to = io.BytesIO()
    await connection.copy_from_query(sql, *values, output=to, **options)
    return to.getvalue().decode()


async def goes_on(connection):
    async with connection.transaction():
        await code(inner(connection))
        return await connection.fetchval("select 1")


async def prepared(connection):
    statement = await connection.prepare("select clicks from clicks_minute where window_start = any($1) limit $2")
    columns = [[column.name, column.type.name] for column in statement.get_attributes()]
    return [[parameter.kind for parameter in statement.get_parameters()], columns]


async def code(call):
    try:
        await call
    except asyncpg.PostgresError as error:
        return error.sqlstate
    except asyncio.TimeoutError:
        return "timeout"
    return None


async def inner(connection):
    async with connection.transaction():
        await connection.fetch("select nothing from clicks")


async def main(port, key, path):
    server = {"host": "127.0.0.1", "port": int(port), "user": "someone", "database": "clicklake", "timeout": 20}
    all = asks(path)
    found = {"asked": {}, "wrong_key": await code(asyncpg.connect(password="wrong", **server))}
    connection = await asyncpg.connect(password=key, **server)
    for time in "first", "again":
        found["asked"][time] = [await tried(answer(connection, *ask)) for ask in all]
    found["asked"]["cursor"] = [None, None, await tried(by_cursor(connection, *all[2]))]
    found["copied"] = await tried(copied(connection, COPIED, format="csv", header=True))
    found["cancelled"] = await code(connection.fetch(ENDLESS, timeout=0.3))
    await connection.execute("set statement_timeout to '300ms'")
    found["timed_out"] = await code(connection.fetch(ENDLESS))
    found["refused"] = await code(connection.execute("delete from clicks"))
    found["unknown"] = await code(connection.fetch("select nothing from clicks"))
    found["goes_on"] = await tried(goes_on(connection))
    # What a pool does with each connection that comes back, and what is asked of types.
    await connection.reset()
    codec = {"encoder": str, "decoder": str, "schema": "pg_catalog", "format": "text"}
    found["own"] = {
        "codec": await tried(connection.set_type_codec("numeric", **codec)),
        "prepared": await tried(prepared(connection)),
        "copied": await tried(copied(connection, "select ad_id from clicks_daily where ad_id = $1", "2")),
    }
    await connection.close()
    json.dump(found, sys.stdout)


asyncio.run(main(*sys.argv[1:]))
