"""The ledger: who is in force, now and then, and how a rollback walks."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.ledger import HELD, LEDGER, PUBLISH, REVOKE, champion, history, hold, in_force, publish, revoke, rollback
from serving.release import compose, write
from telemetry.errors import ReleaseError
from telemetry.lake import Lake
from telemetry.schema import SCALES, THRESHOLDS

ROOT = Path(__file__).resolve().parents[2]
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def write_release(folder: Path, *, seed: int) -> str:
    weights = {"kernel": np.full(2, seed, dtype=np.float32)}
    empty = {"scales": pl.DataFrame(schema=SCALES), "thresholds": pl.DataFrame(schema=THRESHOLDS)}
    return write(compose(weights=weights, network={}, **empty, contract={}, manifest={}, created_at=BEGIN), folder=folder).name


class House:
    """A lake and three written releases, `a`, `b` and `c`; every event is a day after the one before."""

    def __init__(self, folder: Path) -> None:
        self.lake = Lake(str(folder / "lake"))
        self.folder = folder / "releases"
        self.ids = {name: write_release(self.folder, seed=seed) for seed, name in enumerate("abc")}
        self.names = {identifier: name for name, identifier in self.ids.items()}
        self.day = 0

    def now(self) -> datetime:
        self.day += 1
        return BEGIN + self.day * DAY

    def publish(self, name: str) -> None:
        publish(self.lake, release=self.ids[name], folder=self.folder, at=self.now(), metrics={"accuracy": 0.99}, reason="passed")

    def rollback(self) -> str | None:
        standing = rollback(self.lake, at=self.now(), reason="noisy")
        return None if standing is None else self.names[standing.release]

    def champion(self, *, day: int | None = None) -> str | None:
        standing = champion(self.lake, at=None if day is None else BEGIN + day * DAY)
        return None if standing is None else self.names[standing.release]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_an_empty_ledger_has_no_champion(house: House) -> None:
    assert house.champion() is None
    assert history(house.lake).is_empty()
    with pytest.raises(ReleaseError, match="nothing to roll back"):
        house.rollback()


def test_the_last_published_is_the_champion_and_tells_why(house: House) -> None:
    house.publish("a")
    house.publish("b")
    standing = champion(house.lake)
    assert standing is not None
    assert (standing.release, standing.at, standing.reason, standing.metrics) == (
        house.ids["b"], BEGIN + 2 * DAY, "passed", {"accuracy": 0.99},
    )  # fmt: skip


def test_rolling_back_twice_walks_two_back_and_never_forth(house: House) -> None:
    for name in "abc":
        house.publish(name)
    assert [house.rollback(), house.rollback(), house.rollback()] == ["b", "a", None]


def test_a_revoked_release_comes_back_only_when_it_is_published_again(house: House) -> None:
    for name in "ab":
        house.publish(name)
    house.rollback()
    house.publish("c")
    assert house.rollback() == "a"
    house.publish("b")
    assert house.champion() == "b"


def test_the_champion_of_any_day_is_still_told(house: House) -> None:
    house.publish("a")
    house.publish("b")
    house.rollback()
    assert [house.champion(day=day) for day in range(4)] == [None, "a", "b", "a"]


def test_revoking_one_that_is_not_the_champion_takes_it_out_of_the_way_back(house: House) -> None:
    for name in "abc":
        house.publish(name)
    revoke(house.lake, release=house.ids["b"], at=house.now(), reason="wrong scales")
    assert house.champion() == "c"
    assert house.rollback() == "a"


def test_publishing_the_champion_again_changes_nothing(house: House) -> None:
    house.publish("a")
    house.publish("a")
    assert history(house.lake).height == 1


def test_a_refusal_is_written_down_and_changes_nothing(house: House) -> None:
    house.publish("a")
    hold(house.lake, release=house.ids["b"], at=house.now(), metrics={"accuracy": 0.97}, reason="accuracy 97 %")
    assert house.champion() == "a"
    last = history(house.lake).row(-1, named=True)
    assert (last["event"], last["reason"], json.loads(last["metrics"])) == ("held", "accuracy 97 %", {"accuracy": 0.97})


def test_a_release_that_is_not_there_is_never_published(house: House) -> None:
    with pytest.raises(ReleaseError, match="There is no release '0123456789abcdef'"):
        publish(house.lake, release="0123456789abcdef", folder=house.folder, at=BEGIN, metrics={})
    (house.folder / house.ids["a"] / "contract.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ReleaseError, match="is damaged"):
        house.publish("a")
    assert history(house.lake).is_empty()


def test_only_what_is_in_force_can_be_revoked(house: House) -> None:
    house.publish("a")
    with pytest.raises(ReleaseError, match=f"published and not revoked: {house.ids['a']}"):
        revoke(house.lake, release=house.ids["b"], at=BEGIN, reason="")


def test_a_time_without_a_zone_is_refused(house: House) -> None:
    with pytest.raises(ValueError, match="zone"):
        publish(house.lake, release=house.ids["a"], folder=house.folder, at=datetime(2026, 1, 1), metrics={})  # noqa: DTZ001


def test_events_of_one_instant_keep_the_order_in_which_they_were_written(house: House) -> None:
    for name in "abc":
        publish(house.lake, release=house.ids[name], folder=house.folder, at=BEGIN, metrics={})
    assert house.champion(day=0) == "c"


@given(st.lists(st.tuples(st.sampled_from([PUBLISH, HELD, REVOKE]), st.sampled_from("abcd")), max_size=30))
def test_it_is_a_stack_from_which_the_revoked_are_taken(events: list[tuple[str, str]]) -> None:
    stack: list[str] = []
    for event, name in events:
        if event != HELD:
            stack = [other for other in stack if other != name] + [name] * (event == PUBLISH)
    rows = [(index, BEGIN, event, name, "", "{}") for index, (event, name) in enumerate(events)]
    assert [row.release for row in in_force(pl.DataFrame(rows, schema=LEDGER, orient="row"))] == stack


@pytest.mark.slow
@settings(max_examples=15)
@given(st.lists(st.sampled_from(["a", "b", "c", "back"]), max_size=7))
def test_the_real_ledger_is_that_stack_too(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    house, stack = House(tmp_path_factory.mktemp("house")), []
    for step in steps:
        if step != "back":
            house.publish(step)
            stack = [other for other in stack if other != step] + [step]
        elif stack:
            stack.pop()
            assert house.rollback() == (stack[-1] if stack else None)
        assert house.champion() == (stack[-1] if stack else None)


KILLED_AT = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from serving import ledger, release
from telemetry.lake import Lake

def die(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)

lake, folder, where = sys.argv[1:]
if where == "directory":
    release._move = die
else:
    Lake.append = die
champion = release.load(ledger.champion(Lake(lake)).release, folder=Path(folder))
told = {name: getattr(champion, name) for name in ("network", "scales", "thresholds", "contract", "manifest", "created_at")}
candidate = release.compose(weights={"kernel": champion.weights["kernel"] + 99}, **told)
release.write(candidate, folder=Path(folder))
ledger.publish(Lake(lake), release=candidate.id, folder=Path(folder), at=datetime(2026, 4, 1, tzinfo=UTC), metrics={})
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["directory", "row"])
def test_a_kill_during_publish_leaves_the_champion_in_force(house: House, where: str) -> None:
    house.publish("a")
    before = history(house.lake)
    command = [sys.executable, "-c", KILLED_AT, house.lake.root, str(house.folder), where]
    killed = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert history(house.lake).equals(before)
    assert house.champion() == "a"
    house.publish("b")
    assert house.champion() == "b"


PUBLISH_FOR_EVER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from serving import ledger
from telemetry.lake import Lake

lake, folder, *releases = sys.argv[1:]
while True:
    for release in releases:
        ledger.publish(Lake(lake), release=release, folder=Path(folder), at=datetime.now(UTC), metrics={})
        print(release, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.013, 0.037, 0.061, 0.1])
def test_a_kill_at_any_instant_leaves_whole_events_only(house: House, seconds: float) -> None:
    command = [sys.executable, "-c", PUBLISH_FOR_EVER, house.lake.root, str(house.folder), *house.ids.values()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == house.ids["a"]
        time.sleep(seconds)
        process.kill()
        told = 1 + len(process.stdout.readlines())
    events = history(house.lake)
    assert told <= events.height <= told + 1, "what was told is written; at most the event under way was too"
    assert events.get_column("release").to_list() == [house.ids["abc"[index % 3]] for index in range(events.height)]
