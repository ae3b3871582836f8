"""The Prefect server made ready for a worker: its work pool, and nothing left over from the life before."""

from datetime import datetime
from typing import Final
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed
from prefect.workers.process import ProcessWorker

OPEN: Final = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]


def make_pool(name: str) -> None:
    """A work pool of processes on this machine; an existing one is left as it is."""
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(name)
        except ObjectNotFound:
            client.create_work_pool(
                WorkPoolCreate(name=name, type="process", base_job_template=ProcessWorker.get_default_base_job_template())
            )


def any_running(pool: str) -> bool:
    """True while a run of the pool is at work."""
    with get_client(sync_client=True) as client:
        return bool(_runs(client, pool=pool, states=[StateType.RUNNING]))


def close_left_open(pool: str) -> None:
    """Call every open run of the pool crashed. To be called while no worker is at work.

    A machine that was switched off leaves runs that say Running for ever, and each holds its deployment's only place: every later run of
    it would be cancelled.
    """
    with get_client(sync_client=True) as client:
        for run in _runs(client, pool=pool, states=OPEN):
            client.set_flow_run_state(run.id, Crashed(message="Tidewatch ended while this run was at work."), force=True)


def leave_one_waiting(pool: str) -> None:
    """Of the runs that the schedules have put ahead leave each deployment the next one. To be called while no worker is at work.

    Whatever is due while Tidewatch is not up is late at its next start: one run makes good for all, and the rest would only be cancelled.
    """
    first: set[UUID | None] = set()
    with get_client(sync_client=True) as client:
        for run in _runs(client, pool=pool, states=[StateType.SCHEDULED]):
            if run.auto_scheduled and run.deployment_id in first:
                client.delete_flow_run(run.id)
            first.add(run.deployment_id)


def has_worker(pool: str, *, since: datetime) -> bool:
    """True once a worker has reported to the pool."""
    with get_client(sync_client=True) as client:
        beats = [worker.last_heartbeat_time for worker in client.read_workers_for_work_pool(pool)]
    return any(beat is not None and beat >= since for beat in beats)


def _runs(client: SyncPrefectClient, *, pool: str, states: list[StateType]) -> list[FlowRun]:
    """The earliest first, 200 at most: more than all deployments ever have."""
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
    )
