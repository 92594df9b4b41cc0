"""The fuzzer's mutants in small: the same ones each time, without guidance, in a few seconds."""

from __future__ import annotations

import contextlib
import random
import time

import pytest

from sacdoctor.errors import SacdoctorError
from tests.fuzz.mutation import mutated
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, set_sound

pytestmark = pytest.mark.slow

RUNS = {
    **{"archive": 1500, "listed": 3000, "symbols": 3000, "data": 1500, "optimizer": 1000},
    **{"scan": 150, "fix": 80, "diff": 80, "config": 150, "legacy": 400, "replay_buffer": 500},
    "safetensors": 3000,
}
ASK_FOR_MORE = ("fix", "config")
"""The targets that also ask for what a seed does not have: a rate, another language."""
MAX_SECONDS = 2.0


@pytest.fixture(scope="module")
def inputs() -> dict[str, tuple[bytes, ...]]:
    return {target: tuple(found) for target, found in seeds().items()}


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, inputs: dict[str, tuple[bytes, ...]]) -> str:
    set_sound(inputs["diff"][0])
    return str(request.param)


@pytest.mark.parametrize("target", [t for t in TARGETS if t not in ASK_FOR_MORE], indirect=True)
def test_the_seeds_are_sound(target: str, inputs: dict[str, tuple[bytes, ...]]) -> None:
    for data in inputs[target]:
        TARGETS[target](data)


def test_mutants_are_read_or_refused(target: str, inputs: dict[str, tuple[bytes, ...]]) -> None:
    dice = random.Random(target)
    read = 0
    for _ in range(RUNS[target]):
        mutant = mutated(dice.choice(inputs[target]), dice, inputs[target])
        start = time.process_time()
        with contextlib.suppress(SacdoctorError):
            TARGETS[target](mutant)
            read += 1
        assert time.process_time() - start < MAX_SECONDS
    assert read > RUNS[target] / 20  # else all of them ended at the door
