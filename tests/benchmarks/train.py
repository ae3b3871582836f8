"""How fast the forecaster learns and forecasts, beside PyTorch and Keras in the same process.

    JAX_NUM_CPU_DEVICES=2 python tests/benchmarks/train.py [--repeats 5] [--part train ...] [--fleet-days 180] [--json]

The winning configuration of the design: 2 LSTM layers of 64, 64 steps, batches of 64, two dense layers, Adam, mean absolute error.
The peers have the same layers, get the same windows in the same order and begin with the same weights; PyTorch's also has the same
parameters to learn, so its losses must be ours but for rounding. They are asked in turn, and medians are told.

    train   windows learned from in a second, overlapping windows, judged at their last step; the losses of both, batch by batch
    infer   windows forecast in a second, at their last step
    keras   the same training by Keras on JAX, of windows that were cut out beforehand
    steps   targets learned from in a second with every step judged, as a multiple of those with the last one judged
    sweep   18 models of as many seeds, learned side by side, against 18 runs of PyTorch in turn; on a GPU, or where asked for
    fleet   one epoch over 100 entities x --fleet-days of minutes, mapped from disk: seconds, and the process's greatest memory

A peer that cannot be imported, and a part that needs a GPU where there is none, is null with the reason. JAX_PLATFORMS=cuda runs the parts
on a GPU, where PyTorch's LSTM is cuDNN's. The last line of --json is one record.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, 4)))
os.environ.setdefault("KERAS_BACKEND", "jax")

import jax  # noqa: E402  (the environment is set first)
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import lax, shard_map  # noqa: E402
from jax.sharding import NamedSharding  # noqa: E402
from jax.sharding import PartitionSpec as P  # noqa: E402

from models import epochs, sampling, train  # noqa: E402
from models.config import Network, Training  # noqa: E402
from models.devices import AXIS, COMPILER, mesh_of  # noqa: E402
from models.lstm import Steps, forecaster, initial, rest  # noqa: E402
from models.sampling import Windows  # noqa: E402
from telemetry.panel import CALENDAR, Panel, Part  # noqa: E402
from telemetry.panel import load as load_panel  # noqa: E402
from tests.models.panels import make_panel  # noqa: E402

ENTITIES, STEPS, PARAMETERS, TARGETS = 24, 20_000, 18, (0, 1, 2, 3, 4)
BATCHES: Final = 64
"""Of 64 windows, in one turn of a peer."""
FLEET_ENTITIES: Final = 100
DAY: Final = 1_440
NETWORK: Final = Network(parameters=PARAMETERS, calendar=len(CALENDAR), entities=ENTITIES, targets=TARGETS)
LAST: Final = Training(supervision="last_step", unknown_share=0.0, epochs=1)
EVERY: Final = Training(unknown_share=0.0, epochs=1)
MODELS: Final = 18
PARTS: Final = ("train", "infer", "keras", "steps", "sweep", "fleet")


def waves(entities: int, steps: int, *, seed: int = 0) -> Panel:
    """Noisy waves with a day's rhythm: most of it TRAIN, the end CALIBRATE."""
    panel = make_panel(entities=entities, steps=steps, parameters=PARAMETERS, targets=TARGETS, period=DAY, noise=0.3, seed=seed)
    part = np.where(np.arange(steps) < int(0.9 * steps), Part.TRAIN, Part.CALIBRATE).astype(np.uint8)
    calendar = np.random.default_rng(seed).uniform(-1, 1, size=panel.calendar.shape).astype(np.float32)
    return replace(panel, part=np.tile(part, (entities, 1)), calendar=calendar)


def drawn(panel: Panel, *, training: Training, batches: int) -> tuple[Windows, Windows]:
    """So many batches of an epoch, and one batch to validate on."""
    learnable, held = (sampling.judged(panel, part=part) for part in (Part.TRAIN, Part.CALIBRATE))
    windows = sampling.sampler(learnable, network=NETWORK, training=training).draw(1)
    validation = sampling.validation(held, network=NETWORK, training=training, batch=training.batch)
    return Windows(*(field[:batches] for field in windows)), Windows(*(field[:1] for field in validation))


class Ours:
    """The project's own loop, as `models.train.fit` runs it."""

    def __init__(self, panel: Panel, *, training: Training, batches: int = BATCHES) -> None:
        self.windows, self.held_out = drawn(panel, training=training, batches=batches)
        self.training, self.mesh = training, mesh_of(None, batch=training.batch)
        self.run = train.runner(panel, network=NETWORK, training=training, mesh=self.mesh, memory=train.MEMORY)
        self.weights = initial(NETWORK, seed=0)

    def losses(self) -> np.ndarray:
        """f32[batches]: the loss of every training step, from the first weights on."""
        fresh = {name: jnp.array(weight) for name, weight in self.weights.items()}
        state = jax.device_put(epochs.begin(fresh), NamedSharding(self.mesh, P()))
        rates = np.full(len(self.windows.rows), self.training.learning_rate, dtype=np.float32)
        _, record = self.run(state, self.windows, rates, self.held_out)
        return np.asarray(record.loss)


class SideBySide(Ours):
    """MODELS trainings of other seeds at once, as `models.together` runs them; all of them see the same windows."""

    def __init__(self, panel: Panel, *, training: Training, batches: int = BATCHES) -> None:
        super().__init__(panel, training=training, batches=batches)
        self.data = jax.device_put(train.load(panel, network=NETWORK, training=training), NamedSharding(self.mesh, P()))

    def losses(self) -> np.ndarray:
        """f32[model, batches]."""
        begun = [epochs.begin(initial(NETWORK, seed=seed)) for seed in range(MODELS)]
        states = jax.device_put(jax.tree.map(lambda *each: jnp.stack(each), *begun), NamedSharding(self.mesh, P()))
        windows = Windows(*(np.broadcast_to(field, (MODELS, *field.shape)) for field in self.windows))
        rates = np.full(len(self.windows.rows), self.training.learning_rate, dtype=np.float32)
        cut = epochs.Cut.of(self.training)
        given = (states, self.data, windows, rates, self.held_out)
        _, record = epochs.side_by_side(*given, network=NETWORK, cut=cut, mesh=self.mesh)
        return np.asarray(record.loss)


def inference(panel: Panel, *, windows: Windows) -> Callable[[], np.ndarray]:
    """f32[batches, batch, K] forecasts at the last step of windows, by the project's network."""
    mesh = mesh_of(None, batch=windows.rows.shape[1])
    data = jax.device_put(train.load(panel, network=NETWORK, training=LAST), NamedSharding(mesh, P()))
    weights = jax.device_put(initial(NETWORK, seed=0), NamedSharding(mesh, P()))
    rows = jax.device_put(windows.rows, NamedSharding(mesh, P(None, AXIS)))

    def on_each(weights: dict[str, jax.Array], data: epochs.Data, rows: jax.Array) -> jax.Array:
        def forecast(carry: None, row: jax.Array) -> tuple[None, jax.Array]:
            entity, at = row[:, 0], row[:, 1] + jnp.arange(LAST.time_steps)[:, None]
            newcomer = jnp.zeros(at.shape, dtype=bool)
            steps = Steps(data.values[entity, at], data.missing[entity, at], data.calendar[0, at], newcomer, entity)
            told, _ = forecaster(NETWORK, weights=weights)(steps, carries=rest(NETWORK, batch=entity.size), first=LAST.time_steps - 1)
            return carry, told[0, :, 0]

        return lax.scan(forecast, None, rows)[1]

    shared = shard_map(on_each, mesh=mesh, in_specs=(P(), P(), P(None, AXIS)), out_specs=P(None, AXIS), check_vma=False)
    told = jax.jit(shared, compiler_options=COMPILER)
    return lambda: np.asarray(told(weights, data, rows))


class Torch:
    """The same network and loop in PyTorch: `nn.LSTM`, its own Adam, windows cut out of tensors that are on the device."""

    def __init__(self, panel: Panel, *, windows: Windows) -> None:
        import torch

        self.torch, self.device = torch, "cuda" if jax.default_backend() == "gpu" else "cpu"
        shape = panel.values.shape[:2]
        calendar = np.broadcast_to(panel.calendar, (*shape, len(CALENDAR)))
        inputs = [np.where(panel.observed, panel.values, 0), calendar, ~panel.observed, panel.newcomer[..., None]]
        self.inputs = torch.as_tensor(np.concatenate(inputs, axis=-1, dtype=np.float32), device=self.device)
        self.rows = torch.as_tensor(windows.rows.astype(np.int64), device=self.device)
        self.steps = torch.arange(LAST.time_steps, device=self.device)[:, None]
        self.weights = {name: np.asarray(weight) for name, weight in initial(NETWORK, seed=0).items()}

    def network(self) -> Any:
        """A fresh network with the first weights of ours."""
        torch, width = self.torch, self.inputs.shape[-1] + NETWORK.embedding
        told = {name: torch.tensor(weight) for name, weight in self.weights.items()}

        class Peer(torch.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.prior = torch.nn.Parameter(told["prior"])
                self.correction = torch.nn.Embedding.from_pretrained(told["correction"], freeze=False)
                self.lstm = torch.nn.LSTM(width, 64, num_layers=2)
                self.dense, self.head = torch.nn.Linear(64, NETWORK.dense), torch.nn.Linear(NETWORK.dense, len(TARGETS))

            def of(self, entity: Any) -> Any:
                return self.prior + self.correction(entity)

            def forward(self, inputs: Any, entity: Any) -> Any:
                of_entity = self.of(entity).expand(len(inputs), -1, -1)
                outputs, _ = self.lstm(torch.cat([inputs, of_entity], dim=-1))
                return self.head(torch.relu(self.dense(outputs[-1])))

        peer = Peer()
        with torch.no_grad():
            for layer in range(2):
                for theirs, ours in (("weight_ih", "input_kernel"), ("weight_hh", "recurrent_kernel")):
                    getattr(peer.lstm, f"{theirs}_l{layer}").copy_(told[f"layers.{layer}.{ours}"].T)
                getattr(peer.lstm, f"bias_ih_l{layer}").copy_(told[f"layers.{layer}.bias"])
                getattr(peer.lstm, f"bias_hh_l{layer}").zero_().requires_grad_(False)  # two that learn would move twice as fast as one
            for theirs, ours in ((peer.dense, "dense"), (peer.head, "head")):
                theirs.weight.copy_(told[f"{ours}.kernel"].T)
                theirs.bias.copy_(told[f"{ours}.bias"])
        return peer.to(self.device)

    def cut(self, rows: Any) -> tuple[Any, Any, Any]:
        """Inputs [step, batch, feature], targets of the step after [batch, K] and entities [batch]."""
        entity, start = rows[:, 0], rows[:, 1]
        inputs = self.inputs[entity, start + self.steps]
        return inputs, self.inputs[entity, start + LAST.time_steps][:, list(TARGETS)], entity

    def losses(self) -> np.ndarray:
        """f32[batches], as of `Ours`."""
        network, told = self.network(), []
        optimiser = self.torch.optim.Adam(network.parameters(), lr=LAST.learning_rate, fused=True)
        for rows in self.rows:
            inputs, targets, entity = self.cut(rows)
            optimiser.zero_grad()
            loss = (network(inputs, entity) - targets).abs().mean()
            loss.backward()
            optimiser.step()
            told.append(loss.detach())
        return np.asarray(self.torch.stack(told).cpu())

    def inference(self) -> Callable[[], np.ndarray]:
        """As of ours."""
        network = self.network().eval()

        def forecast() -> np.ndarray:
            with self.torch.inference_mode():
                made = [network(inputs, entity) for inputs, _, entity in map(self.cut, self.rows)]
                return np.asarray(self.torch.stack(made).cpu())

        return forecast


def keras_training(panel: Panel, *, windows: Windows) -> Callable[[], float]:
    """An epoch of the same layers by Keras, over windows that were cut out beforehand; it tells the mean loss."""
    import keras

    peer = Torch(panel, windows=windows) if _importable("torch") else None
    if peer is None:
        raise ImportError("the windows for Keras are cut by PyTorch's peer")
    embedded = peer.network().of
    cut = [peer.cut(rows) for rows in peer.rows]
    inputs = np.concatenate([np.asarray(each[0]).swapaxes(0, 1) for each in cut])
    entity = np.concatenate([embedded(each[2]).detach().numpy() for each in cut])
    seen = np.concatenate([inputs, np.broadcast_to(entity[:, None], (*inputs.shape[:2], entity.shape[-1]))], axis=-1)
    targets = np.concatenate([np.asarray(each[1]) for each in cut])
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Input(seen.shape[1:]),
        keras.layers.LSTM(64, return_sequences=True),
        keras.layers.LSTM(64),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(len(TARGETS)),
    ]
    model = keras.Sequential(layers)
    model.compile(optimizer=keras.optimizers.Adam(LAST.learning_rate), loss="mae")

    def epoch() -> float:
        return float(model.fit(seen, targets, batch_size=LAST.batch, epochs=1, shuffle=False, verbose=0).history["loss"][0])

    return epoch


def _importable(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def in_turn(programs: dict[str, Callable[[], Any]], *, repeats: int, say: Callable[[str], None]) -> dict[str, float]:
    """Median seconds of each program, one after the other, after one turn that counts for nothing."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(repeats + 1):
        for name, program in programs.items():
            began = time.perf_counter()
            program()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    for name, told in seconds.items():
        say(f"  {name:12} {statistics.median(told):8.3f} s  ({', '.join(f'{each:.3f}' for each in told)})")
    return {name: statistics.median(told) for name, told in seconds.items()}


def of_training(panel: Panel, *, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Training beside PyTorch."""
    say("training, overlapping windows, last step judged:")
    ours = Ours(panel, training=LAST)
    count = ours.windows.rows.shape[0] * LAST.batch
    if not _importable("torch"):
        return {
            "windows_per_second": round(count / in_turn({"ours": ours.losses}, repeats=repeats, say=say)["ours"]),
            "ratio_torch_train": None,
        }
    peer = Torch(panel, windows=ours.windows)
    seconds = in_turn({"ours": ours.losses, "torch": peer.losses}, repeats=repeats, say=say)
    curves = [np.asarray(each.losses()).reshape(-1, 8).mean(axis=1) for each in (ours, peer)]
    away = np.abs(curves[0] - curves[1]) / curves[1]
    for name, curve in zip(("ours", "torch"), curves, strict=True):
        say(f"  loss of {name:6} by 8 training steps: {', '.join(f'{each:.4f}' for each in curve)}")
    return {
        "windows_per_second": round(count / seconds["ours"]),
        "ratio_torch_train": round(seconds["torch"] / seconds["ours"], 3),
        "greatest_loss_difference": round(float(away.max()), 5),
    }


def of_inference(panel: Panel, *, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Inference beside PyTorch."""
    say("inference, last step of overlapping windows:")
    windows, _ = drawn(panel, training=LAST, batches=4 * BATCHES)
    ours = inference(panel, windows=windows)
    if not _importable("torch"):
        return {"ratio_torch_infer": None}
    theirs = Torch(panel, windows=windows).inference()
    seconds = in_turn({"ours": ours, "torch": theirs}, repeats=repeats, say=say)
    away = float(np.abs(ours() - theirs()).max())
    return {"ratio_torch_infer": round(seconds["torch"] / seconds["ours"], 3), "greatest_forecast_difference": round(away, 7)}


def of_keras(panel: Panel, *, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Training beside Keras."""
    if not _importable("keras") or not _importable("torch"):
        return {"ratio_keras_train": None}
    say("training, beside Keras:")
    ours = Ours(panel, training=LAST)
    seconds = in_turn({"ours": ours.losses, "keras": keras_training(panel, windows=ours.windows)}, repeats=repeats, say=say)
    return {"ratio_keras_train": round(seconds["keras"] / seconds["ours"], 3)}


def of_steps(panel: Panel, *, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Targets a second: every step judged against the last one."""
    say("every step judged, and the last one:")
    both = {name: Ours(panel, training=training) for name, training in (("every", EVERY), ("last", LAST))}
    seconds = in_turn({name: each.losses for name, each in both.items()}, repeats=repeats, say=say)
    targets = {"every": EVERY.time_steps - EVERY.first_judged, "last": 1}
    rate = {name: targets[name] * each.windows.rows.shape[0] * LAST.batch / seconds[name] for name, each in both.items()}
    return {"every_step_targets_ratio": round(rate["every"] / rate["last"], 1)}


def of_sweep(panel: Panel, *, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Many models beside as many runs of PyTorch."""
    say(f"{MODELS} models, every one over the same windows:")
    ours, alone = SideBySide(panel, training=LAST), Ours(panel, training=LAST)
    programs: dict[str, Callable[[], Any]] = {
        "side by side": ours.losses,
        "in turn": lambda: [alone.losses() for _ in range(MODELS)],
    }
    if _importable("torch"):
        peer = Torch(panel, windows=ours.windows)
        programs["torch"] = lambda: [peer.losses() for _ in range(MODELS)]
    seconds = in_turn(programs, repeats=repeats, say=say)
    ratios = {"ratio_side_by_side": round(seconds["in turn"] / seconds["side by side"], 3)}
    return ratios | {"ratio_torch_sweep": round(seconds["torch"] / seconds["side by side"], 3) if "torch" in seconds else None}


def of_fleet(*, days: int, say: Callable[[str], None]) -> dict[str, Any]:
    """One epoch over a fleet, in a process of its own, so that its memory is its own."""
    with tempfile.TemporaryDirectory(prefix="tidewatch-train-") as folder:
        written = _write_fleet(Path(folder), steps=days * DAY)
        say(f"one epoch over {written:,} entity-minutes:")
        command = [sys.executable, __file__, "--epoch-of", folder]
        told = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ.copy()).stdout
    epoch: dict[str, Any] = json.loads(told.splitlines()[-1])
    say(f"  {epoch}")
    return {"fleet_entity_minutes": written, "epoch_26m_seconds": epoch["seconds"], "peak_gib": epoch["peak_gib"]}


def _write_fleet(folder: Path, *, steps: int) -> int:
    """A panel on disk, written entity by entity."""
    from telemetry.panel import save

    small = waves(1, steps)
    shape = (FLEET_ENTITIES, steps)
    save(replace(small, entities=tuple(f"entity-{number}" for number in range(FLEET_ENTITIES))), folder=folder)
    for name, tail, kind in (("values", (PARAMETERS,), np.float32), ("observed", (PARAMETERS,), bool)):
        array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=(*shape, *tail))
        for entity in range(FLEET_ENTITIES):
            array[entity] = getattr(waves(1, steps, seed=entity), name)[0]
        array.flush()
    for name in ("newcomer", "part", "incident"):
        np.save(folder / f"{name}.npy", np.repeat(getattr(small, name), FLEET_ENTITIES, axis=0), allow_pickle=False)
    return FLEET_ENTITIES * steps


def epoch_of(folder: Path) -> dict[str, Any]:
    """One epoch over a panel on disk."""
    panel = load_panel(folder)
    network = replace(NETWORK, entities=len(panel.entities))
    trained = train.fit(panel, network=network, training=EVERY)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    epoch = trained.history[0]
    return {"seconds": round(epoch.seconds, 1), "windows": epoch.windows, "device": trained.device, "peak_gib": round(peak, 2)}


def main() -> int:
    """0 when all parts were run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--fleet-days", type=int, default=180)
    parser.add_argument("--epoch-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.epoch_of:
        print(json.dumps(epoch_of(asked.epoch_of)))
        return 0

    def say(text: str) -> None:
        print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)

    device, on_gpu = jax.local_devices()[0], jax.default_backend() == "gpu"
    parts = asked.part or [part for part in PARTS if on_gpu or part != "sweep"]
    told: dict[str, Any] = {"device": f"{device.device_kind} x {jax.local_device_count()}"}
    absent = {name: f"{name} cannot be imported" for name in ("torch", "keras") if not _importable(name)}
    if "sweep" not in parts and asked.part is None:
        told["ratio_torch_sweep"], absent["sweep"] = None, "there is no GPU"
    panel = waves(ENTITIES, STEPS)
    measures = {"train": of_training, "infer": of_inference, "keras": of_keras, "steps": of_steps, "sweep": of_sweep}
    for part in parts:
        told |= of_fleet(days=asked.fleet_days, say=say) if part == "fleet" else measures[part](panel, repeats=asked.repeats, say=say)
    print(json.dumps(told | {"absent": absent}) if asked.json else told)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
