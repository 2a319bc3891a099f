"""Runs statements of SQL in one Spark session, each as it comes: a line in, a line out, as JSON.

A statement that is answered: {"rows": [[value, ...], ...]}; one that fails: {"error": "why"}.
"""

import json
import sys

from pyspark.sql import SparkSession


def main(jars, warehouse):
    spark = (
        SparkSession.builder.master("local[2]")
        .appName("clicklake")
        .config("spark.jars", jars)
        .config("spark.sql.warehouse.dir", warehouse)
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.sources.parallelPartitionDiscovery.parallelism", "1")
        .config("spark.databricks.delta.snapshotPartitions", "1")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.databricks.delta.retentionDurationCheck.enabled", "false")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .getOrCreate()
    )
    for statement in sys.stdin:
        try:
            answer = spark.sql(json.loads(statement))
            said = {"rows": [["" if value is None else str(value) for value in row] for row in answer.collect()]}
        except Exception as error:  # what went wrong is for whoever asked
            said = {"error": " ".join(str(error).split()[:60])}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
