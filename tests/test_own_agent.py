"""An agent of somebody's own, in plain PyTorch: opened, judged, repaired, and trained on."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from fixtures.own_agent import STEPS, OwnSAC, Settings, make_own_agent
from tests.kept import Kept


@pytest.fixture(scope="module")
def folder(kept: Kept) -> Path:
    return kept("own-agent", make_own_agent)


# -- the fixture itself ------------------------------------------------------------------------


def test_the_buffers_head_holds_actions_that_never_happened(folder: Path) -> None:
    forced = Settings().forced_steps
    buffer = np.load(folder / "buffer.npz")
    executed = buffer["next_states"][:, -1]
    assert np.all(executed[:forced] == 0.0)
    assert np.all(buffer["actions"][:forced] != 0.0)
    assert np.array_equal(executed[forced:], buffer["actions"][forced:, 0])


def test_both_forms_of_the_buffer_hold_the_same(folder: Path) -> None:
    arrays = np.load(folder / "buffer.npz")
    own = pickle.loads((folder / "buffer.pkl").read_bytes())
    assert own.size == STEPS < own.capacity
    for name in arrays.files:
        assert np.array_equal(getattr(own, name)[: own.size], arrays[name])


def test_it_loads_what_it_saves(folder: Path) -> None:
    agent = OwnSAC.load(folder / "agent.pt")
    assert agent.total_steps == STEPS
    assert agent.learn(70).total_steps == STEPS + 70
