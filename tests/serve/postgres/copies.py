"""Copies rows from a PostgreSQL server in each format, and prints what comes. With DuckDB, reads a table as its extension
for PostgreSQL does.

Usage: copies.py DSN
"""

import sys

import duckdb
import duckdb_extensions
import psycopg

ROWS = "select ad_id, clicks from clicks_minute where window_start < '2026-03-07T12:01:00Z' order by ad_id limit 2"


def copied(connection, statement):
    with connection.cursor().copy(statement) as copy:
        return b"".join(copy)


def main(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        print(copied(connection, f"copy ({ROWS}) to stdout"))
        print(copied(connection, f"COPY ({ROWS}) TO STDOUT WITH (FORMAT csv, HEADER true, DELIMITER ';')"))
        print(copied(connection, f"copy ({ROWS}) to stdout with csv header"))
        print(copied(connection, "copy (select null as a, '' as b, 'c,\"d\"' as c) to stdout csv"))
        unnamed = "select count(*), count(*), max(clicks), 1 from clicks_minute where false"
        print(copied(connection, f"copy ({unnamed}) to stdout csv header"))
        binary = copied(connection, f'COPY ({ROWS}) TO STDOUT (FORMAT "binary")')
        print(binary[:11], binary[-2:], len(binary))
        with connection.cursor().copy(f"copy ({ROWS}) to stdout (format binary)") as copy:
            copy.set_types(["text", "int8"])
            print(list(copy.rows()))
        print(copied(connection, "copy (select 1 where false) to stdout (format binary)")[19:])
        cursor = connection.cursor()
        with cursor.copy("copy (select 1 where false) to stdout") as copy:
            list(copy)
        print(cursor.rowcount)
        for statement in "copy (select 1 / (clicks - clicks) from clicks_minute) to stdout", "copy clicks from stdin":
            try:
                copied(connection, statement)
            except psycopg.Error as error:
                print(error.sqlstate)
        print(connection.execute("select 1").fetchone())
    duckdb_extensions.import_extension("postgres_scanner")
    duck = duckdb.connect()
    duck.load_extension("postgres_scanner")
    duck.execute(f"attach '{dsn}' as lake (type postgres, read_only)")
    print(duck.execute("select count(*), sum(clicks) from lake.public.clicks_minute").fetchall())
    print(duck.execute("select ad_id from lake.public.clicks_minute where clicks > 15 group by 1").fetchall())


main(*sys.argv[1:])
