"""Every flow by the name that the command line, the deployments and the UI use."""

from typing import Any

from prefect import Flow

from flows.backtest import backtest
from flows.check import check
from flows.demo import demo
from flows.ingest import ingest
from flows.quality_report import quality_report
from flows.recalibrate import recalibrate
from flows.retrain import retrain
from flows.rollback import rollback
from flows.score import score
from flows.shadow import shadow
from flows.sweep import sweep
from flows.tend import tend
from flows.train_alone import train_alone

FLOWS: dict[str, Flow[..., dict[str, Any]]] = {  # Any: plain JSON
    flow.name: flow
    for flow in (ingest, check, retrain, recalibrate, score, backtest, shadow, quality_report, rollback, sweep, train_alone, tend, demo)
}


def flow_of(name: str) -> Flow[..., dict[str, Any]]:  # Any: plain JSON
    """The flow of that name."""
    return FLOWS[name]
