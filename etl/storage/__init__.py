"""Files of many kinds under one root: a folder, a bucket, or a web server that is only read.

`open_store` takes an address and gives a `Store`; `sync` and `verify` hold what lies in one against the database.
"""

from etl.storage.errors import AbsentError, DamagedError
from etl.storage.http import HttpStore
from etl.storage.local import LocalStore
from etl.storage.places import open_store
from etl.storage.s3 import S3Store
from etl.storage.store import ObjectStat, Store

__all__ = ["AbsentError", "DamagedError", "HttpStore", "LocalStore", "ObjectStat", "S3Store", "Store", "open_store"]
