"""Asks a PostgreSQL server what stands on standard input, a JSON list of [statement, parameters or null], and prints what
each is answered: {"rows": [...], "counts": [...]} or {"code": ..., "said": ...}. Several statements in one text are answered
by the rows of the last, and by how many rows each has.

Usage: asks.py DSN simple|extended|binary
"""

import json
import sys

import psycopg


def value(column):
    return column if column is None or isinstance(column, (bool, int, float, str)) else str(column)


def answer(connection, protocol, statement, parameters):
    binary = protocol == "binary"
    cursor = psycopg.ClientCursor(connection) if protocol == "simple" else connection.cursor(binary=binary)
    try:
        if protocol == "simple":
            cursor.execute(statement, parameters)
        else:
            cursor.execute(statement, parameters, prepare=True)
        counts = []
        while True:
            rows = cursor.fetchall() if cursor.description else []
            counts.append(len(rows))
            if not cursor.nextset():
                break
        return {"rows": [[value(column) for column in row] for row in rows], "counts": counts}
    except psycopg.Error as error:
        return {"code": error.sqlstate, "said": str(error).strip()}


def main(dsn, protocol):
    answers = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement, parameters in json.load(sys.stdin):
            answers.append(answer(connection, protocol, statement, parameters))
    json.dump(answers, sys.stdout)


main(*sys.argv[1:])
