"""The parent of Spark's Python workers with the loader imported already, so that a new worker is a fork."""

import pyspark.daemon

import etl.sweeps.load_file  # noqa: F401 - for the workers to find

if __name__ == "__main__":
    pyspark.daemon.manager()
