"""Looks at a PostgreSQL server as SQLAlchemy does, on which Superset stands, and prints what it finds: schemas, tables, the
columns of a table and their types, and what else tables of PostgreSQL have.

Usage: describes.py DSN
"""

import sys

from sqlalchemy import create_engine, inspect, text

# As Superset writes a chart over time.
CHART = """
SELECT DATE_TRUNC('hour', window_start) AS window_start, sum(clicks) AS "SUM(clicks)" FROM public.clicks_minute
WHERE window_start >= TO_TIMESTAMP('2026-03-07 12:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US')
GROUP BY DATE_TRUNC('hour', window_start) ORDER BY "SUM(clicks)" DESC LIMIT 1000
"""


def main(dsn):
    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"))
    found = inspect(engine)
    print(*found.get_schema_names())
    print(*sorted(found.get_table_names()))
    columns = {column["name"]: column["type"] for column in found.get_columns("clicks_minute")}
    print(*(f"{name} {columns[name]}" for name in ["window_start", "ad_id", "clicks"]), sep=", ")
    print(found.get_pk_constraint("clicks_minute")["constrained_columns"], found.get_indexes("clicks_minute"))
    print(found.get_foreign_keys("clicks_minute"), found.get_view_names(), found.has_table("clicks_minute"))
    with engine.connect() as connection:
        print(*(clicks for _, clicks in connection.execute(text(CHART))))


main(*sys.argv[1:])
