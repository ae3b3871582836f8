"""Sections of a contract about its model: what it sees of the past, how far ahead it looks, what it learns from, and how."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, ValidationInfo, field_validator, model_serializer, model_validator

from telemetry.sections import Minutes, Section, Share


class Windows(Section):
    """What a model sees of the past."""

    time_steps: Minutes = 64
    warmup_steps: Annotated[int, Field(ge=0)] = 16
    """First steps of a window that are not judged in training, when every step is supervised."""
    supervision: Literal["every_step", "last_step"] = "every_step"

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.warmup_steps >= self.time_steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} leaves nothing of time_steps {self.time_steps}")
        return self


class Leads(Section):
    """How far ahead the forecasts look, in steps of the cadence."""

    steps: Annotated[tuple[Minutes, ...], Field(min_length=1)] = (1,)
    shortcut: tuple[Minutes, ...] = ()
    """Leads that are forecast as a correction to the last value: good for accuracy, blind to a sustained shift."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if 1 not in self.steps:
            raise ValueError("lead 1 is always forecast; add 1 to steps")
        if len(set(self.steps)) < len(self.steps):
            raise ValueError(f"steps repeats a lead: {list(self.steps)}")
        if not set(self.shortcut) <= set(self.steps):
            raise ValueError(f"shortcut {list(self.shortcut)} names leads that are not in steps {list(self.steps)}")
        return self


class Split(Section):
    """Which part of the past is learned from, calibrated on and judged by: train | gap | calibrate | gap | test."""

    by: Literal["time", "entity"] = "time"
    """Cut the common time line, or every entity's own span."""
    test_share: Share = 0.2
    calibrate_share: Share = 0.1
    """Of the whole span, taken right before the test."""

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        if self.test_share + self.calibrate_share >= 1:
            raise ValueError("test_share + calibrate_share leave nothing to train on")
        return self


class Training(Section):
    """How the network is trained; the defaults are the configuration that won the story."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (64, 64)
    cells: tuple[Literal["lstm", "gru"], ...] = ()
    """Of every recurrent layer, as many as `hidden`; LSTM throughout where none is told."""
    dense: Annotated[int, Field(ge=1)] = 64
    embedding: Annotated[int, Field(ge=0)] = 8
    loss: Literal["mae", "huber", "gaussian", "quantile"] = "mae"
    batch: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    schedule: Literal["constant", "cosine"] = "constant"
    rise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all training steps in which the learning rate rises from 0."""
    clip: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Gradients of a greater norm are scaled down to it; 0 leaves them as they are."""
    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] = 5
    """Epochs without a better validation loss after which training stops."""
    precision: Literal["mixed", "float32"] = "mixed"
    """Of matrix products on a GPU: factors of 10 bits, added up in float32; or float32 throughout, as it is on a CPU."""
    overlapping: bool = True
    """Whether windows begin elsewhere in every epoch, and overlap; else each begins where the one before ends."""
    unknown_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the windows whose entity is hidden, so that one which nobody knows yet can be forecast too."""
    start: Literal["fresh", "champion"] = "fresh"
    """With which weights a training begins."""
    seed: int = 0

    @field_validator("cells")
    @classmethod
    def _a_cell_a_layer(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        layers = info.data.get("hidden", value)
        if value and len(value) != len(layers):
            raise ValueError(f"one of lstm and gru is needed for each of the {len(layers)} layers of hidden {list(layers)}, or none")
        return value

    @model_serializer(mode="wrap")
    def _as_ever(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:  # Any: plain JSON
        """Without the keys that older contracts could not have, where they say nothing: such a contract means what it meant."""
        told: dict[str, Any] = plain(self)
        usual = {name for name in _LATER if getattr(self, name) == Training.model_fields[name].default}
        return {name: value for name, value in told.items() if name not in usual}


_LATER: Final = frozenset({"cells", "loss", "rise", "clip", "precision", "overlapping", "unknown_share", "start"})
