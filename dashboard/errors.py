"""Errors that a user of the dashboard can cause.

The tree::

    StronglensError
    └── DashboardError  the dashboard cannot be started or photographed
"""

from db.errors import StronglensError


class DashboardError(StronglensError):
    """The dashboard cannot be started or photographed."""
