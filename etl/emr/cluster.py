"""Clusters that were launched: their state, the wait for their end, and their termination."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential_jitter

from etl.emr.aws import client, is_passing, one_line
from etl.emr.request import NAME_PREFIX

ENDED = frozenset({"TERMINATED", "TERMINATED_WITH_ERRORS"})
_STEP_FAILED = frozenset({"FAILED", "CANCELLED", "INTERRUPTED"})
_FIX = "`stronglens emr list` names the clusters of a region"
_PATIENCE_S = 300.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepState:
    """State of one step; `reason` is EMR's, empty unless it failed."""

    step_id: str
    name: str
    state: str
    reason: str = ""


@dataclass(frozen=True)
class ClusterState:
    """State of a cluster and its steps, in the order in which they run."""

    cluster_id: str
    name: str
    state: str
    reason: str
    log_uri: str
    steps: tuple[StepState, ...]

    @property
    def is_over(self) -> bool:
        """Say whether there is nothing to wait for."""
        done = all(step.state in _STEP_FAILED | {"COMPLETED"} for step in self.steps)
        return self.state in ENDED or (done and bool(self.steps))

    @property
    def is_success(self) -> bool:
        """Say whether every step has completed."""
        return bool(self.steps) and all(step.state == "COMPLETED" for step in self.steps)

    @property
    def failed_step(self) -> StepState | None:
        """The first step that failed."""
        return next((step for step in self.steps if step.state in _STEP_FAILED), None)


def cluster_state(cluster_id: str, region: str) -> ClusterState:
    """Ask for the state of a cluster.

    Raises
    ------
    EmrError
        When there is no such cluster, or AWS refuses.
    """
    emr = client("emr", region)
    with one_line(f"cluster {cluster_id}", _FIX):
        about = emr.describe_cluster(ClusterId=cluster_id)["Cluster"]
        pages = emr.get_paginator("list_steps").paginate(ClusterId=cluster_id)
        steps = [step for page in pages for step in page.get("Steps", [])]
    # EMR lists the newest first.
    ordered = sorted(steps, key=lambda step: step["Status"]["Timeline"]["CreationDateTime"])
    reason = about["Status"].get("StateChangeReason", {}).get("Message", "")
    return ClusterState(
        cluster_id,
        about["Name"],
        about["Status"]["State"],
        reason,
        about.get("LogUri", ""),
        tuple(_step_state(step) for step in ordered),
    )


def wait_for_end(
    cluster_id: str, region: str, every_s: float, on_state: Callable[[ClusterState], None] | None = None
) -> ClusterState:
    """Ask for the state every so many seconds until the steps have ended; return the last.

    A question that is throttled or broken off is asked again, with growing pauses, for five minutes.

    Raises
    ------
    EmrError
        When there is no such cluster, AWS refuses, or cannot be reached for so long.
    """
    patient = Retrying(
        retry=retry_if_exception(is_passing),
        stop=lambda attempts: attempts.idle_for >= _PATIENCE_S,
        wait=wait_exponential_jitter(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S),
        before_sleep=_say_that_it_waits,
        reraise=True,
    )
    while True:
        state = patient(cluster_state, cluster_id, region)
        if on_state is not None:
            on_state(state)
        if state.is_over:
            return state
        time.sleep(every_s)


def terminate(cluster_id: str, region: str) -> None:
    """Ask EMR to end a cluster; files that are being loaded roll back.

    Raises
    ------
    EmrError
        When there is no such cluster, or AWS refuses.
    """
    cluster_state(cluster_id, region)  # EMR itself says nothing about a name that it does not know
    with one_line(f"cluster {cluster_id}", _FIX):
        client("emr", region).terminate_job_flows(JobFlowIds=[cluster_id])


def our_clusters(region: str, days: int) -> list[dict[str, Any]]:
    """List the clusters of the last days that the launcher named, the newest first, as EMR describes them."""
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
    with one_line(f"clusters of {region}", "check the credentials"):
        pages = client("emr", region).get_paginator("list_clusters").paginate(CreatedAfter=since)
        found = [cluster for page in pages for cluster in page["Clusters"]]
    ours = [cluster for cluster in found if cluster["Name"].startswith(NAME_PREFIX)]
    return sorted(ours, key=lambda cluster: cluster["Status"]["Timeline"]["CreationDateTime"], reverse=True)


def _say_that_it_waits(attempts: RetryCallState) -> None:
    if attempts.outcome is not None and attempts.next_action is not None:
        _log.warning("%s; asking again in %.0f s", attempts.outcome.exception(), attempts.next_action.sleep)


def _step_state(step: dict[str, Any]) -> StepState:
    status = step["Status"]
    details = status.get("FailureDetails", {})
    reason = details.get("Message") or details.get("Reason") or status.get("StateChangeReason", {}).get("Message", "")
    return StepState(step["Id"], step["Name"], status["State"], reason)
