"""A private PostgreSQL server for one checkout, for people who have none.

Finds the system's binaries, makes a cluster that only its owner can reach (a unix socket, no TCP), starts and
stops it.
"""

from db.embedded.server import EmbeddedServer, ServerStatus

__all__ = ["EmbeddedServer", "ServerStatus"]
