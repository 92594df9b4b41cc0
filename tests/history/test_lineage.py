"""Which checkpoints are one training: every way of going on that SB3 has, and independent runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CheckpointCallback

from sacdoctor import read_history
from sacdoctor.history import Run
from sacdoctor.history.lineage import Header, lineages

pytestmark = pytest.mark.slow

STEPS = 192
"""Steps in a call of `learn()`: three rollouts of PPO."""
SETTINGS: dict[type[BaseAlgorithm], dict[str, Any]] = {
    PPO: {"n_steps": 64, "batch_size": 32, "n_epochs": 2},
    SAC: {"learning_starts": 30, "batch_size": 16, "train_freq": 2},
}
ALGORITHMS = pytest.mark.parametrize("algorithm", SETTINGS)
RESET = pytest.mark.parametrize("reset", [False, True], ids=["goes on", "restarts"])


def model(algorithm: type[BaseAlgorithm], seed: int = 0, **settings: Any) -> BaseAlgorithm:
    settings = {"policy_kwargs": {"net_arch": [32, 32]}, **SETTINGS[algorithm], **settings}
    return algorithm("MlpPolicy", "Pendulum-v1", seed=seed, device="cpu", **settings)  # type: ignore[arg-type]


def every(steps: int, folder: Path, name: str = "rl_model") -> CheckpointCallback:
    return CheckpointCallback(steps, str(folder), name)


def files(run: Run) -> list[str]:
    return [Path(snapshot.report.path).name for snapshot in run.snapshots]


def found(folder: Path) -> list[list[str]]:
    return [files(run) for run in read_history(folder).runs]


# -- one training ------------------------------------------------------------------------------


@ALGORITHMS
@RESET
def test_training_in_many_calls_is_one(
    tmp_path: Path, algorithm: type[BaseAlgorithm], reset: bool
) -> None:
    """A loop of learn() and save(), which SB3 gives a new `start_time` each."""
    agent = model(algorithm)
    agent.save(tmp_path / "m0.zip")
    for number in range(1, 5):
        agent.learn(STEPS, reset_num_timesteps=reset)
        agent.save(tmp_path / f"m{number}.zip")
    (run,) = read_history(tmp_path).runs
    assert files(run) == [f"m{number}.zip" for number in range(5)]
    assert [snapshot.timesteps for snapshot in run.snapshots] == [STEPS * n for n in range(5)]
    inside = [snapshot.report.num_timesteps for snapshot in run.snapshots]
    assert inside == [STEPS * (min(n, 1) if reset else n) for n in range(5)]


@ALGORITHMS
@RESET
def test_training_that_was_loaded_and_resumed_elsewhere_is_one(
    tmp_path: Path, algorithm: type[BaseAlgorithm], reset: bool
) -> None:
    agent = model(algorithm)
    agent.learn(STEPS)
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
        agent.save(tmp_path / name / f"{name}.zip")
        agent = algorithm.load(tmp_path / name / f"{name}.zip", env=agent.env, learning_rate=1e-4)
        agent.learn(STEPS, reset_num_timesteps=reset)
    assert found(tmp_path) == [["first.zip", "second.zip", "third.zip"]]


@ALGORITHMS
def test_end_of_a_call_need_not_have_been_saved(
    tmp_path: Path, algorithm: type[BaseAlgorithm]
) -> None:
    agent = model(algorithm)
    for part in ("a", "b"):
        agent.learn(
            STEPS, callback=every(STEPS - 50, tmp_path, part), reset_num_timesteps=part == "a"
        )
    assert found(tmp_path) == [["a_142_steps.zip", "b_334_steps.zip"]]


def test_best_model_of_a_training_is_one_of_its_states(tmp_path: Path) -> None:
    from stable_baselines3.common.callbacks import CallbackList, EvalCallback

    agent = model(SAC)
    best = EvalCallback(
        agent.env, eval_freq=70, n_eval_episodes=1, best_model_save_path=str(tmp_path)
    )
    agent.learn(STEPS, callback=CallbackList([every(64, tmp_path), best]))
    (run,) = found(tmp_path)
    assert "best_model.zip" in run and len(run) == 4


def test_training_whose_weights_were_zeroed_goes_on(tmp_path: Path) -> None:
    """Such weights say nothing of where they come from, but the counter does."""
    import torch as th

    agent = model(PPO)
    agent.learn(STEPS)
    agent.save(tmp_path / "alive.zip")
    with th.no_grad():
        for parameter in agent.policy.parameters():
            parameter.zero_()
    agent.learn(STEPS, reset_num_timesteps=False)
    with th.no_grad():
        for parameter in agent.policy.parameters():
            parameter.zero_()
    agent.save(tmp_path / "dead.zip")
    assert found(tmp_path) == [["alive.zip", "dead.zip"]]


# -- several trainings -------------------------------------------------------------------------


@ALGORITHMS
@pytest.mark.parametrize("seeds", [(0, 1), (0, 0)], ids=["other seeds", "the same seed"])
def test_independent_trainings_of_one_folder_are_told_apart(
    tmp_path: Path, algorithm: type[BaseAlgorithm], seeds: tuple[int, int]
) -> None:
    """The second goes further, under the same name; with the same seed it starts alike."""
    model(algorithm, seeds[0]).learn(STEPS, callback=every(64, tmp_path))
    model(algorithm, seeds[1], learning_rate=1e-4).learn(3 * STEPS, callback=every(256, tmp_path))
    assert found(tmp_path) == [
        [f"rl_model_{64 * n}_steps.zip" for n in (1, 2, 3)],
        ["rl_model_256_steps.zip", "rl_model_512_steps.zip"],
    ]


@ALGORITHMS
def test_models_of_one_seed_trained_for_ever_longer_are_several(
    tmp_path: Path, algorithm: type[BaseAlgorithm]
) -> None:
    for times in (1, 2, 3):
        agent = model(algorithm)
        agent.learn(times * STEPS)
        agent.save(tmp_path / f"m{times}.zip")
    assert found(tmp_path) == [["m1.zip"], ["m2.zip"], ["m3.zip"]]


@ALGORITHMS
@RESET
def test_each_goes_on_with_its_own(
    tmp_path: Path, algorithm: type[BaseAlgorithm], reset: bool
) -> None:
    """Three seeds, trained equally long and resumed: only the weights say which is whose."""
    agents = [model(algorithm, seed) for seed in range(3)]
    for part in ("a", "b"):
        for seed, agent in enumerate(agents):
            agent.learn(STEPS, reset_num_timesteps=reset)
            agent.save(tmp_path / f"{part}{'xyz'[seed]}.zip")
    assert found(tmp_path) == [[f"a{letter}.zip", f"b{letter}.zip"] for letter in "xyz"]


def test_going_back_to_an_earlier_checkpoint_leaves_the_rest_as_its_own(tmp_path: Path) -> None:
    agent = model(PPO)
    agent.learn(256, callback=every(64, tmp_path))
    agent = PPO.load(tmp_path / "rl_model_128_steps.zip", env=agent.env)
    agent.learn(64, callback=every(48, tmp_path), reset_num_timesteps=False)
    assert found(tmp_path) == [
        [f"rl_model_{steps}_steps.zip" for steps in (64, 128, 176)],
        [f"rl_model_{steps}_steps.zip" for steps in (192, 256)],
    ]


def test_two_that_go_on_from_one_are_a_run_and_a_branch(tmp_path: Path) -> None:
    agent = model(PPO)
    agent.learn(STEPS)
    agent.save(tmp_path / "base.zip")
    for name in ("left", "right"):
        agent = PPO.load(tmp_path / "base.zip", env=agent.env)
        agent.learn(STEPS, reset_num_timesteps=False)
        agent.save(tmp_path / f"{name}.zip")
    assert found(tmp_path) == [["base.zip", "left.zip"], ["right.zip"]]


def test_trainings_of_ars_are_told_apart() -> None:
    """Its few weights tell nothing, and as episodes grow longer, it makes ever fewer updates.

    From the second one's 30 updates, less 10 for every 1,000 steps, 20 would seem to have been made
    before it began, as many as the first one had made.
    """
    updates = {1.0: (20, 32, 40), 2.0: (30, 42, 50)}
    headers = [
        Header(
            *(Path(f"rl_model_{call:.0f}_{1000 * n}_steps.zip"), ("ARS", ())),
            *(1000 * n, made, call, 0, 0, (None, 1, None, None, None)),
            is_repaired=False,
        )
        for call, counts in updates.items()
        for n, made in enumerate(counts, start=1)
    ]
    assert lineages(headers) == [headers[:3], headers[3:]]


# -- weights alone -----------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", SETTINGS)
def test_weights_of_a_training_are_alike_and_those_of_another_seed_are_not(
    tmp_path: Path, algorithm: type[BaseAlgorithm], weights: Callable[[BaseAlgorithm], Any]
) -> None:
    from sacdoctor.history.kinship import are_related, likeness

    first, other = model(algorithm, 0), model(algorithm, 1)
    start, stranger = weights(first), weights(other)
    first.learn(STEPS)
    trained = weights(first)
    assert are_related(start, trained)
    assert are_related(trained, stranger) is False
    chance = likeness(start, stranger)
    assert chance is not None and abs(chance) < 6 / start.size**0.5
    assert are_related(start[:20], trained[:20]) is None  # too few


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[BaseAlgorithm], Any]:
    from sacdoctor.checkpoint import Checkpoint
    from sacdoctor.history.kinship import sample

    def call(agent: BaseAlgorithm) -> Any:
        agent.save(tmp_path / "now.zip")
        with Checkpoint(tmp_path / "now.zip") as checkpoint:
            return sample(checkpoint)

    return call
