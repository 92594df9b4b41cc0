"""Faults planted in replay buffers that SB3 filled, and buffers of one's own, are named by rule."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import DQN, SAC

from fixtures.faulty_buffers import (
    FILLINGS,
    FORCED,
    Ending,
    Plant,
    done_nearly_everywhere,
    head_is_observation,
    next_from_elsewhere,
    next_is_observation,
    observations_moved,
    one_reward,
    rewards_rescaled,
    sensor_stood_still,
    small,
)
from fixtures.faulty_buffers import filled as filled_by_sb3
from sacdoctor.diagnosis import scan
from sacdoctor.model import Finding
from sacdoctor.options import ScanOptions
from sacdoctor.severity import Severity
from tests.own_buffers import Ring, filled, transitions
from tests.replay_buffers import KINDS, of_kind

Buffer = Any
RANDOM = np.random.default_rng(0)

TWO = ("SAC", "DQN")


def found(buffer: Buffer, folder: Path) -> list[Finding]:
    """The findings about the buffer's integrity, once it was written and read."""
    path = folder / "model_replay_buffer.pkl"
    path.write_bytes(pickle.dumps(buffer))
    return [*scan(path, ScanOptions(select=("SD9",))).findings]


def planted(name: str, plant: Plant, folder: Path) -> list[Finding]:
    buffer = deepcopy(filled_by_sb3(name))
    plant(buffer)
    return found(buffer, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILLINGS)
def test_a_healthy_buffer_has_no_finding(tmp_path: Path, name: str) -> None:
    assert found(filled_by_sb3(name), tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_buffer_of_each_kind_has_no_finding(tmp_path: Path, kind: str) -> None:
    findings = found(of_kind(kind).buffer, tmp_path)
    assert [f for f in findings if f.severity is not Severity.NOTICE] == []


# -- SD901 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILLINGS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_reward_that_is_not_finite_is_critical_and_named(
    tmp_path: Path, name: str, value: float
) -> None:
    (finding,) = planted(name, one_reward(value, 345), tmp_path)
    where = f"rewards[345, {filled_by_sb3(name).n_envs - 1}]"
    assert (finding.rule, finding.severity, finding.evidence) == ("SD901", "critical", where)


def test_numbers_of_observations_are_named_with_their_component(tmp_path: Path) -> None:
    def plant(buffer: Buffer) -> None:
        buffer.observations[7, 0, 2] = buffer.next_observations[6, 0, 2] = np.nan

    (finding,) = planted("SAC", plant, tmp_path)
    assert "observations[7, 0, 2]" in finding.evidence
    assert "next_observations[6, 0, 2]" in finding.evidence


def test_the_observation_behind_the_newest_row_is_looked_at(tmp_path: Path) -> None:
    def plant(buffer: Buffer) -> None:
        buffer.observations[buffer.pos, 0, 1] = np.nan

    (finding,) = planted("SAC without next observations", plant, tmp_path)
    assert finding.rule == "SD901"


def test_room_that_is_not_filled_is_not_looked_at(tmp_path: Path) -> None:
    def plant(buffer: Buffer) -> None:
        buffer.observations[buffer.pos + 1 :] = np.nan
        buffer.rewards[buffer.pos :] = np.nan

    assert planted("SAC", plant, tmp_path) == []


def test_huge_numbers_are_finite(tmp_path: Path) -> None:
    def plant(buffer: Buffer) -> None:
        buffer.actions[3] = 1e30

    assert planted("SAC", plant, tmp_path) == []


# -- SD902, SD903 ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TWO, "TD3", "SAC, 4 environments, wrapped"])
def test_next_observations_from_elsewhere_break_the_succession(tmp_path: Path, name: str) -> None:
    (finding,) = planted(name, next_from_elsewhere, tmp_path)
    assert (finding.rule, finding.severity) == ("SD902", "warning")
    assert "the first at [row, environment]" in finding.evidence


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("name", [*TWO, "SAC, 4 environments, wrapped"])
def test_next_observations_that_are_the_observation_are_one_finding(
    tmp_path: Path, name: str, share: float
) -> None:
    (finding,) = planted(name, next_is_observation(share), tmp_path)
    assert (finding.rule, finding.severity) == ("SD903", "warning")


def test_next_observations_from_elsewhere_are_named_beside_those_that_are_the_observation(
    tmp_path: Path,
) -> None:
    def plant(buffer: Buffer) -> None:
        next_is_observation(0.1)(buffer)
        next_from_elsewhere(buffer)

    assert [f.rule for f in planted("SAC", plant, tmp_path)] == ["SD902", "SD903"]


@pytest.mark.parametrize("plant", [sensor_stood_still, head_is_observation])
def test_where_nothing_is_seen_no_action_is_said_to_be_forced(tmp_path: Path, plant: Plant) -> None:
    """Outcomes do not follow the actions there, as none is seen to follow."""
    buffer = deepcopy(filled_by_sb3("SAC, tracking"))
    plant(buffer)
    path = tmp_path / "model_replay_buffer.pkl"
    path.write_bytes(pickle.dumps(buffer))
    assert [finding.rule for finding in scan(path).findings] == ["SD903"]


def test_one_action_that_is_stored_throughout_is_named_beside_them(tmp_path: Path) -> None:
    buffer = deepcopy(filled_by_sb3("SAC, tracking"))
    sensor_stood_still(buffer)
    buffer.actions[:FORCED] = 0.25
    path = tmp_path / "model_replay_buffer.pkl"
    path.write_bytes(pickle.dumps(buffer))
    assert {finding.rule for finding in scan(path).findings} == {"SD503", "SD903"}


def test_an_environment_that_stands_still_is_found_without_next_observations(
    tmp_path: Path,
) -> None:
    def plant(buffer: Buffer) -> None:
        buffer.observations[1::2] = buffer.observations[:-1:2]

    (finding,) = planted("SAC without next observations", plant, tmp_path)
    assert finding.rule == "SD903"


def episodes(length: int, count: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Walks that start anew every `length` steps; no end is stored as done."""
    random = np.random.default_rng(seed)
    walks = random.normal(size=(count, length + 1, 3)).cumsum(axis=1).astype(np.float32)
    return {
        "states": walks[:, :-1].reshape(-1, 3),
        "actions": random.uniform(-1, 1, (count * length, 1)),
        "rewards": random.normal(size=count * length),
        "next_states": walks[:, 1:].reshape(-1, 3),
        "dones": np.zeros(count * length, bool),
    }


def rules_of(arrays: dict[str, np.ndarray[Any, Any]], folder: Path) -> list[str]:
    path = folder / "memory.npz"
    np.savez(path, **arrays)
    return [finding.rule for finding in scan(path, ScanOptions(select=("SD9",))).findings]


def test_episodes_cut_at_one_length_without_done_are_healthy(tmp_path: Path) -> None:
    assert rules_of(episodes(10, 100), tmp_path) == []


def test_returns_of_n_steps_and_environments_in_turn_are_healthy(tmp_path: Path) -> None:
    arrays = episodes(1_000, 1)
    walk = np.concatenate((arrays["states"], arrays["next_states"][-1:]))
    three = {name: array[:-2] for name, array in arrays.items()} | {"next_states": walk[3:]}
    assert rules_of(three, tmp_path) == []


def test_a_shuffled_data_set_is_healthy(tmp_path: Path) -> None:
    order = RANDOM.permutation(1_000)
    arrays = {name: array[order] for name, array in episodes(100, 10).items()}
    assert rules_of(arrays, tmp_path) == []


def test_observations_that_never_change_are_named_unless_they_stand_for_none(
    tmp_path: Path,
) -> None:
    arrays = episodes(100, 10)
    for numbers, expected in ((3, ["SD903"]), (1, [])):
        same = np.full((1_000, numbers), 0.3, np.float32)
        assert rules_of(arrays | {"states": same, "next_states": same}, tmp_path) == expected


# -- SD904 -------------------------------------------------------------------------------------


def steered(steps: int, *, delay: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """A place that the action of `delay` steps ago moves; the reward is the same in each."""
    random = np.random.default_rng(1)
    actions = random.uniform(-1, 1, (steps, 1))
    place, states = np.zeros(2), [np.zeros(2)]
    for step in range(steps):
        push = actions[step - delay, 0] if step >= delay else 0.0
        place = np.array([place[0] + 0.1 * place[1], 0.9 * place[1] + push])
        states.append(place)
    return {
        "states": np.array(states[:-1], np.float32),
        "actions": actions,
        "rewards": np.ones(steps),
        "next_states": np.array(states[1:], np.float32),
        "dones": np.zeros(steps, bool),
    }


def test_what_follows_from_the_action_is_healthy(tmp_path: Path) -> None:
    assert rules_of(steered(1_000), tmp_path) == []


def test_what_follows_from_the_action_before_is_named(tmp_path: Path) -> None:
    assert rules_of(steered(1_000, delay=1), tmp_path) == ["SD904"]


def test_what_follows_from_nothing_is_named(tmp_path: Path) -> None:
    """RLMutation's `random`: the observation is any of those that there were."""
    arrays = steered(1_000)
    seen = arrays["states"][RANDOM.integers(0, 1_000, 1_001)]
    assert rules_of(arrays | {"states": seen[:-1], "next_states": seen[1:]}, tmp_path) == ["SD904"]


def test_a_market_that_no_action_moves_is_healthy(tmp_path: Path) -> None:
    """Prices go their way; the reward is the position times a change that nobody foresees."""
    arrays = steered(1_000)
    prices = RANDOM.normal(size=(1_001, 2)).cumsum(axis=0).astype(np.float32)
    change = RANDOM.normal(size=1_000)
    market = {"states": prices[:-1], "next_states": prices[1:]}
    assert rules_of(arrays | market | {"rewards": arrays["actions"][:, 0] * change}, tmp_path) == []


# -- SD905, SD908 ------------------------------------------------------------------------------


def test_a_buffer_without_ends_whose_episodes_end_is_odd(tmp_path: Path) -> None:
    for buffer in agents(iter([10, 23, 15, 31, 12] * 50).__next__):
        buffer.dones[:] = 0
        (finding,) = found(buffer, tmp_path)
        assert (finding.rule, finding.severity) == ("SD905", "warning")
        assert "0 of 1,000 transitions" in finding.evidence


@pytest.mark.slow
def test_an_endless_task_that_was_resumed_is_healthy(tmp_path: Path) -> None:
    for buffer in agents(iter([300, 150, 550, 900] * 2).__next__):
        buffer.dones[:] = 0
        assert found(buffer, tmp_path) == []


def test_a_buffer_that_drops_timeouts_says_so(tmp_path: Path) -> None:
    model = SAC(
        "MlpPolicy",
        "Pendulum-v1",
        learning_starts=900,
        replay_buffer_kwargs={"handle_timeout_termination": False},
        **small() | {"buffer_size": 2_000},
    )
    model.learn(1_000)
    (finding,) = found(model.replay_buffer, tmp_path)
    assert (finding.rule, finding.severity) == ("SD908", "warning")
    assert "handle_timeout_termination is False" in finding.evidence


@pytest.mark.parametrize("name", [*TWO, "SAC, 4 environments, wrapped"])
def test_dones_nearly_everywhere_while_episodes_go_on_are_odd(tmp_path: Path, name: str) -> None:
    (finding,) = planted(name, done_nearly_everywhere, tmp_path)
    assert (finding.rule, finding.severity) == ("SD905", "warning")


def agents(steps: Callable[[], int]) -> Iterator[Buffer]:
    for algorithm, env in ((SAC, "Pendulum-v1"), (DQN, "CartPole-v1")):
        made = Ending(gym.make(env), steps)
        model = algorithm("MlpPolicy", made, learning_starts=900, buffer_size=2_000, **small())
        model.learn(1_000)
        yield model.replay_buffer


@pytest.mark.slow
def test_episodes_of_one_step_are_odd_unless_all_are(tmp_path: Path) -> None:
    for buffer in agents(iter([*[1] * 100, 2] * 20).__next__):
        (finding,) = found(buffer, tmp_path)
        assert (finding.rule, finding.severity) == ("SD905", "warning")
    for buffer in agents(lambda: 1):  # a bandit
        (finding,) = found(buffer, tmp_path)
        assert (finding.rule, finding.severity) == ("SD905", "notice")


def test_episodes_cut_at_twelve_steps_and_stored_as_terminal(tmp_path: Path) -> None:
    for buffer in agents(lambda: 12):
        (finding,) = found(buffer, tmp_path)
        assert (finding.rule, finding.severity) == ("SD908", "warning")
        assert "12 steps" in finding.message


@pytest.mark.slow
def test_an_end_that_is_observed_is_no_timeout(tmp_path: Path) -> None:
    for buffer in agents(lambda: 12):
        clock = (np.arange(buffer.pos) % 12) / 12
        buffer.observations[: buffer.pos, 0, 0] = clock
        buffer.next_observations[: buffer.pos, 0, 0] = clock + 1 / 12
        assert "SD908" not in [finding.rule for finding in found(buffer, tmp_path)]


# -- SD906, SD907 ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TWO, "TD3", "SAC without next observations"])
@pytest.mark.parametrize(("factor", "offset"), [(1.0, 1e3), (1e-5, 0.0), (1e5, 0.0)])
def test_observations_out_of_scale(tmp_path: Path, name: str, factor: float, offset: float) -> None:
    (finding,) = planted(name, observations_moved(factor, offset), tmp_path)
    assert (finding.rule, finding.severity) == ("SD906", "warning")
    assert "observations[…, " in finding.evidence


def test_beside_statistics_of_vecnormalize_the_scale_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "vecnormalize.pkl").write_bytes(b"")

    assert planted("SAC", observations_moved(1.0, 1e3), tmp_path) == []


def test_a_constant_number_is_harmless(tmp_path: Path) -> None:
    def plant(buffer: Buffer) -> None:
        buffer.observations[..., 0] = buffer.next_observations[..., 0] = 300.0

    assert planted("SAC", plant, tmp_path) == []


@pytest.mark.parametrize("name", [*TWO, "DQN, 4 environments, wrapped"])
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_rewards_whose_scale_changes(tmp_path: Path, name: str, factor: float) -> None:
    (finding,) = planted(name, rewards_rescaled(factor), tmp_path)
    assert (finding.rule, finding.severity) == ("SD907", "warning")


def test_a_pendulum_that_stands_at_last_is_no_change_of_scale(tmp_path: Path) -> None:
    def plant(buffer: Buffer) -> None:  # later it swings for 40 of 200 steps only
        step = np.arange(buffer.pos) % 200
        learned = np.arange(buffer.pos) > buffer.pos // 2
        swinging = RANDOM.uniform(1, 16, buffer.pos)
        buffer.rewards[: buffer.pos, 0] = -np.where(learned & (step > 40), 1e-3, 1) * swinging

    assert planted("SAC", plant, tmp_path) == []


def test_rewards_of_a_million(tmp_path: Path) -> None:
    def plant(buffer: Buffer) -> None:
        buffer.rewards[:] *= 1e6

    (finding,) = planted("DQN", plant, tmp_path)
    assert finding.rule == "SD907"


def test_a_goal_that_is_met_for_the_first_time_is_no_change_of_scale(tmp_path: Path) -> None:
    def plant(buffer: Buffer) -> None:
        buffer.rewards[:] = -0.1
        buffer.rewards[1_500::50] = 100.0

    assert planted("DQN", plant, tmp_path) == []


def test_an_own_buffer_is_looked_at_in_its_own_kind(tmp_path: Path) -> None:
    arrays = transitions(600, 0)
    path = tmp_path / "memory.pkl"
    buffer = filled(Ring, arrays, 1_000)
    buffer.reward[5] = np.nan
    path.write_bytes(pickle.dumps(buffer))
    assert [f.rule for f in scan(path).findings] == ["SD901"]
