"""What readers that are not ours find in the raw tables of a local lake, as JSON: {reader: {table: figures}}."""

import json
import os
import sys

import chdb
import deltalake
import duckdb
import duckdb_extensions

COLUMNS = "count(*), sum(kafka_offset), count(distinct kafka_partition)"
FIGURES = ["rows", "offsets", "partitions"]


def by_duckdb(path):
    return duckdb.sql(f"select {COLUMNS} from delta_scan('{path}')").fetchone()


def by_deltalake(path):
    table = deltalake.DeltaTable(path)
    builder = deltalake.QueryBuilder().register("t", table)
    answer = builder.execute(f"select {COLUMNS} from t").read_all()
    return [answer.column(i)[0].as_py() for i in range(len(FIGURES))]


def by_clickhouse(path):
    # Without the shared kernel, so that one reader has no code in common with the writer.
    settings = "settings allow_experimental_delta_kernel_rs = 0"
    answer = chdb.query(f"select {COLUMNS} from deltaLakeLocal('{path}') {settings}", "JSONCompact")
    return [int(value) for value in json.loads(str(answer))["data"][0]]


def main(lake):
    os.chdir(lake)  # ClickHouse reads local files below the current folder only
    duckdb_extensions.import_extension("delta")
    duckdb.sql("load delta")
    found = {}
    for reader in (by_duckdb, by_deltalake, by_clickhouse):
        tables = {}
        for table in ("clicks", "clicks_rejected"):
            figures = [int(value) for value in reader(os.path.join(lake, table))]
            tables[table] = dict(zip(FIGURES, figures))
        found[reader.__name__.removeprefix("by_")] = tables
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
    # Some of these libraries abort when they are taken down, after all is said.
    os._exit(0)
