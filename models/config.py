"""What a network is and how it is trained: plain frozen records, hashable (one compile per value) and writable as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

Schedule = Literal["constant", "cosine"]
Supervision = Literal["every_step", "last_step"]
Cell = Literal["lstm", "gru"]
Loss = Literal["mae", "huber", "gaussian", "quantile"]
Precision = Literal["mixed", "float32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The shape of a forecaster; with its weights, all that a forecast needs.

    Attributes:
        parameters: P, scaled quantities per step.
        calendar: C, calendar columns per step.
        entities: E, entities that have a correction of their own; any other is served by the shared prior.
        targets: K indices into the parameters.
        leads: L distances of the forecasts, in steps.
        shortcut: the leads that are forecast as a correction to the last value.
        hidden: units of every recurrent layer, first to last.
        cells: the kind of every recurrent layer; LSTM throughout where none is told.
        extras: numbers that a forecast tells beside its location, as its loss wants them.
        dense: units of the dense layer before the output.
        embedding: numbers that describe an entity; 0 for none.
        static: S, numbers that are known of an entity and do not change; 0 for none.
    """

    parameters: int
    calendar: int
    entities: int
    targets: tuple[int, ...]
    leads: tuple[int, ...] = (1,)
    shortcut: tuple[int, ...] = ()
    hidden: tuple[int, ...] = (64, 64)
    dense: int = 64
    embedding: int = 8
    cells: tuple[Cell, ...] = ()
    extras: int = 0
    static: int = 0

    @property
    def layers(self) -> tuple[tuple[Cell, int], ...]:
        """Kind and units of every recurrent layer, first to last."""
        lstm: Cell = "lstm"
        return tuple(zip(self.cells or [lstm] * len(self.hidden), self.hidden, strict=True))

    def __post_init__(self) -> None:
        """Refuse what no forecast can be made of."""
        if self.cells and len(self.cells) != len(self.hidden):
            raise ValueError(f"cells {self.cells} must be as many as the layers of hidden {self.hidden}, or none")
        if not self.hidden or not self.targets or not self.leads:
            raise ValueError(f"a network needs a layer, a target and a lead; found {self}")
        if not all(0 <= target < self.parameters for target in self.targets):
            raise ValueError(f"targets {self.targets} must be indices into {self.parameters} parameters")
        if min(self.leads) < 1 or not set(self.shortcut) <= set(self.leads):
            raise ValueError(f"leads {self.leads} must be 1 or more and contain shortcut {self.shortcut}")

    def to_dict(self) -> dict[str, int | list[int] | list[str]]:
        """The network as JSON holds it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:  # Any: JSON is what it is until it has passed here
        """The network that `to_dict` told.

        >>> network = Network(parameters=3, calendar=8, entities=2, targets=(0, 2), leads=(1, 15))
        >>> Network.from_dict(network.to_dict()) == network
        True
        """
        fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a network is trained.

    Attributes:
        batch: windows per training step.
        learning_rate: of Adam (Kingma & Ba, 2015).
        schedule: of the learning rate; cosine falls to 0 over all epochs.
        rise: share of all training steps in which the rate rises from 0, whatever its schedule.
        loss: as `models.losses` tells them.
        clip: gradients of a greater norm are scaled down to it; 0 leaves them as they are.
        patience: epochs without a better validation loss after which training stops.
        time_steps: length of a window.
        warmup_steps: first steps of a window whose forecasts are not judged, with `every_step`.
        supervision: which of a window's forecasts are judged.
        overlapping: whether windows overlap and begin elsewhere in every epoch; else each begins where the one before ends.
        precision: of matrix products on a GPU. Mixed: tensor cores read factors of 10 bits (TensorFloat-32) and add up in float32; weights,
            state and all else are float32 in any case, and on a CPU the products too.
        unknown_share: share of windows whose entity is hidden, so that the shared prior is learned.
    """

    batch: int = 64
    learning_rate: float = 0.001
    schedule: Schedule = "constant"
    rise: float = 0.0
    loss: Loss = "mae"
    clip: float = 0.0
    epochs: int = 100
    patience: int = 5
    time_steps: int = 64
    warmup_steps: int = 16
    supervision: Supervision = "every_step"
    overlapping: bool = True
    seed: int = 0
    precision: Precision = "mixed"
    unknown_share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse windows in which nothing is judged."""
        if not 0 <= self.warmup_steps < self.time_steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} leaves nothing of time_steps {self.time_steps}")
        if not 0 <= self.rise < 1 or self.clip < 0:
            raise ValueError(f"rise {self.rise} must be a share below 1, and clip {self.clip} 0 or more")
        if min(self.batch, self.epochs, self.patience) < 1:
            raise ValueError(f"batch {self.batch}, epochs {self.epochs} and patience {self.patience} must be 1 or more")

    @property
    def first_judged(self) -> int:
        """The first step of a window whose forecasts are judged."""
        return self.time_steps - 1 if self.supervision == "last_step" else self.warmup_steps
