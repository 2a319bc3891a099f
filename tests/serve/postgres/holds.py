"""Holds a prepared statement and cursors over a change of the lake, and says what each sees. Waits for a line on standard
input before it asks again.

Usage: holds.py DSN
"""

import sys

import psycopg

ASK = "select sum(clicks) from clicks_minute where campaign_id = %s"


def failed(connection, statement, parameters=None):
    try:
        connection.execute(statement, parameters)
    except psycopg.Error as error:
        return error.sqlstate
    return None


def main(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        ask = lambda: connection.execute(ASK, ["spring"], prepare=True).fetchone()[0]
        print("sum", ask(), flush=True)
        sys.stdin.readline()
        print("sum", ask(), flush=True)
    counts = []
    with psycopg.connect(dsn) as connection:
        rows = connection.cursor().stream("select ad_id from clicks_minute where window_start < '2026-03-07T13:02:00Z'")
        counts.append(len(list(rows)))
    for binary in False, True:
        with psycopg.connect(dsn) as connection, connection.cursor("c", binary=binary) as cursor:
            cursor.execute("select ad_id, clicks from clicks_minute where window_start < '2026-03-07T13:02:00Z'")
            cursor.itersize = 3
            counts.append(sum(1 for ad, clicks in cursor if int(ad) > 0 and clicks > 0))
    print("rows", *counts)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(1_100):
            connection.execute(f"select {number}", prepare=True)
            connection.execute("deallocate all")
        print("prepared", number + 1)
    with psycopg.connect(dsn) as connection:
        connection.execute("declare p cursor for select * from clicks_minute VERSION AS OF 4")
        first = connection.execute("fetch 3 from p").fetchall()
        rest = connection.execute("fetch all from p").fetchall()
        print("portal", len(first), len(first) + len(rest))
        connection.commit()
        print("closed", failed(connection, "fetch 1 from p"))
        connection.rollback()
        failed(connection, "select nothing from clicks")
        print(failed(connection, "select 1"))
    with psycopg.connect(dsn, autocommit=True) as connection:
        print(failed(connection, "select nothing from clicks"))
        print(failed(connection, "select cast(%s as int) from clicks", ["x"]))


main(*sys.argv[1:])
