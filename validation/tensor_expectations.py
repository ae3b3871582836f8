"""The expectations of tensors, over the statistics of a panel (`tensor_profile.TENSORS`); what they mean is said in `tensor_judgements`."""

from collections.abc import Sequence
from typing import ClassVar

from great_expectations.expectations.expectation import BatchExpectation, ColumnAggregateExpectation

from validation import tensor_judgements
from validation.expectations import _Judged
from validation.findings import Finding, Severity
from validation.measures import FRAME, Metrics


class _OfTensors(_Judged):
    metric_dependencies: ClassVar[tuple[str, ...]] = (FRAME,)


class ExpectScaledMean(_OfTensors, ColumnAggregateExpectation):
    """Mean 0 over training."""

    full_weight: int
    tolerance: float

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `tensor_judgements.off_mean`."""
        return tensor_judgements.off_mean(
            metrics[FRAME], parameter=self.column, full_weight=self.full_weight, tolerance=self.tolerance, severity=self.stops
        )


class ExpectScaledDeviation(_OfTensors, ColumnAggregateExpectation):
    """Standard deviation 1 over training."""

    full_weight: int
    tolerance: float

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `tensor_judgements.off_deviation`."""
        return tensor_judgements.off_deviation(
            metrics[FRAME], parameter=self.column, full_weight=self.full_weight, tolerance=self.tolerance, severity=self.stops
        )


class ExpectFiniteTensor(_OfTensors, ColumnAggregateExpectation):
    """Numbers everywhere."""

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `tensor_judgements.not_finite`."""
        return tensor_judgements.not_finite(metrics[FRAME], parameter=self.column)


class ExpectZeroWhereUnobserved(_OfTensors, ColumnAggregateExpectation):
    """0 where nothing was observed."""

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `tensor_judgements.stray`."""
        return tensor_judgements.stray(metrics[FRAME], parameter=self.column)


class ExpectRoundTrip(_OfTensors, ColumnAggregateExpectation):
    """The grid comes back when the scaling is undone."""

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `tensor_judgements.unlike_grid`."""
        return tensor_judgements.unlike_grid(metrics[FRAME], parameter=self.column)


class ExpectOwnScale(_OfTensors, ColumnAggregateExpectation):
    """Scaled once, with the entity's own mean and deviation."""

    unfitting: Severity

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `tensor_judgements.wrong_scale`."""
        return tensor_judgements.wrong_scale(metrics[FRAME], parameter=self.column, unfitting=self.unfitting)


class ExpectCalendar(_OfTensors, BatchExpectation):
    """The calendar that the clock says, and each entity's own."""

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `tensor_judgements.odd_calendar`."""
        return tensor_judgements.odd_calendar(metrics[FRAME])


class ExpectAttributes(_OfTensors, BatchExpectation):
    """The attributes that the contract tells of an entity."""

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `tensor_judgements.odd_attributes`."""
        return tensor_judgements.odd_attributes(metrics[FRAME])


class ExpectNewcomerFlag(_OfTensors, BatchExpectation):
    """Newcomers flagged for their first days, and nobody else."""

    days: int

    def findings(self, metrics: Metrics) -> Sequence[Finding]:
        """See `tensor_judgements.odd_newcomers`."""
        return tensor_judgements.odd_newcomers(metrics[FRAME], days=self.days)
