"""Asks a Spark cluster about a lake: the rows, tab-separated, below the names of their columns.

Each table of the lake is a view; an earlier version is delta.`LAKE/clicks` VERSION AS OF 412.
"""

import os
import sys

from pyspark.sql import SparkSession


def main(master, jars, warehouse, lake, sql):
    lake = os.path.abspath(lake)
    spark = (
        SparkSession.builder.master(master)
        .appName("clicklake")
        .config("spark.jars", jars)
        .config("spark.sql.warehouse.dir", warehouse)
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .getOrCreate()
    )
    for table in sorted(os.listdir(lake)):
        if os.path.isdir(os.path.join(lake, table, "_delta_log")):
            spark.read.format("delta").load(os.path.join(lake, table)).createOrReplaceTempView(table)
    answer = spark.sql(sql.replace("LAKE/", lake + "/"))
    print("\t".join(answer.columns))
    for row in answer.collect():
        print("\t".join("" if value is None else str(value) for value in row))


if __name__ == "__main__":
    main(*sys.argv[1:])
