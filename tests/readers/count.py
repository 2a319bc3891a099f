"""What readers that are not ours find in the raw tables of a lake, as JSON: {reader: {table: figures}}.

The lake is a folder, or s3://bucket/prefix at AWS_ENDPOINT_URL with the usual keys.
"""

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
    table = deltalake.DeltaTable(path)  # the environment says where a bucket is
    builder = deltalake.QueryBuilder().register("t", table)
    answer = builder.execute(f"select {COLUMNS} from t").read_all()
    return [answer.column(i)[0].as_py() for i in range(len(FIGURES))]


def by_clickhouse(path):
    # Without the shared kernel, so that one reader has no code in common with the writer.
    settings = "settings allow_experimental_delta_kernel_rs = 0"
    table = f"deltaLakeLocal('{path}')"
    if path.startswith("s3://"):
        url = os.environ["AWS_ENDPOINT_URL"] + "/" + path.removeprefix("s3://")
        table = f"deltaLake('{url}', '{os.environ['AWS_ACCESS_KEY_ID']}', '{os.environ['AWS_SECRET_ACCESS_KEY']}')"
    answer = chdb.query(f"select {COLUMNS} from {table} {settings}", "JSONCompact")
    return [int(value) for value in json.loads(str(answer))["data"][0]]


def prepare(lake):
    duckdb_extensions.import_extension("delta")
    duckdb.sql("load delta")
    if not lake.startswith("s3://"):
        os.chdir(lake)  # ClickHouse reads local files below the current folder only
        return
    duckdb_extensions.import_extension("httpfs")
    duckdb.sql("load httpfs")
    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    duckdb.sql(
        f"create secret (type s3, key_id '{key}', secret '{secret}', region '{os.environ['AWS_REGION']}', "
        f"endpoint '{endpoint}', use_ssl false, url_style 'path')"
    )


def main(lake):
    prepare(lake)
    found = {}
    for reader in (by_duckdb, by_deltalake, by_clickhouse):
        tables = {}
        for table in ("clicks", "clicks_rejected"):
            figures = [int(value) for value in reader(os.path.join(lake, table))]
            tables[table] = dict(zip(FIGURES, figures))
        found[reader.__name__.removeprefix("by_")] = tables
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1].startswith("s3://") else os.path.abspath(sys.argv[1]))
    # Some of these libraries abort when they are taken down, after all is said.
    os._exit(0)
