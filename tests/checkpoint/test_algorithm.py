"""Every algorithm of SB3 and sb3-contrib is told by what it saves."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacdoctor import Report, scan
from tests import torch_truth
from tests.agents import ALGORITHMS, KINDS, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}")
def saved_agent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, Path]:
    """An algorithm's name, its policy's, and the zip that `model.save` wrote."""
    name, policy = request.param
    path = tmp_path_factory.mktemp("agent") / "model.zip"
    train(name, policy).save(path)
    return name, policy, path


@pytest.fixture(scope="module")
def report(saved_agent: tuple[str, str, Path]) -> Report:
    return scan(saved_agent[2])


def test_algorithm_and_policy_are_named(saved_agent: tuple[str, str, Path], report: Report) -> None:
    name, policy, _ = saved_agent
    policy_class = ALGORITHMS[name].policy_aliases[policy]
    assert report.algorithm == name
    assert report.policy_class == f"{policy_class.__module__}.{policy_class.__qualname__}"


def test_counts_are_those_of_torch_load(saved_agent: tuple[str, str, Path], report: Report) -> None:
    tensors = torch_truth.state_dict(saved_agent[2])
    assert report.summary is not None
    found = (report.summary.tensors, report.summary.parameters, report.summary.zero_parameters)
    assert found == torch_truth.counts(tensors)
    assert {
        layer.name
        for layer in report.biases
        if layer.alias_of is None and layer.zeros == layer.parameters
    } == torch_truth.all_zero(tensors)


def test_settings_are_those_that_sb3_loads(
    saved_agent: tuple[str, str, Path], report: Report
) -> None:
    name, _, path = saved_agent
    model = ALGORITHMS[name].load(path)
    assert report.num_timesteps == model.num_timesteps
    assert report.n_updates == getattr(model, "_n_updates", None)
    rate = model.learning_rate
    assert report.learning_rate == (rate if isinstance(rate, float) else None)
    assert report.optimizer_learning_rates == torch_truth.learning_rates(path)


def test_every_algorithm_is_here() -> None:
    assert len(ALGORITHMS) == 13
    assert {name for name, _ in KINDS} == set(ALGORITHMS)


# -- what a run may change without becoming another algorithm ----------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("TD3", {"policy_delay": 1}),
        ("TD3", {"target_noise_clip": 0.0}),
        ("SAC", {"ent_coef": 0.1}),
        ("SAC", {"use_sde": True}),
        ("PPO", {"clip_range": lambda progress: 0.2 * progress}),
        ("DQN", {"exploration_fraction": 0.5}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_unusual_settings_do_not_change_the_name(
    tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    train(name, "MlpPolicy", **options).save(tmp_path / "m.zip")
    assert scan(tmp_path / "m.zip").algorithm == name


def test_a_schedule_has_no_single_learning_rate(tmp_path: Path) -> None:
    model = train("PPO", "MlpPolicy", learning_rate=lambda progress: 1e-3 * progress)
    model.save(tmp_path / "m.zip")
    report = scan(tmp_path / "m.zip")
    assert report.learning_rate is None
    applied = model.policy.optimizer.param_groups[0]["lr"]
    assert report.optimizer_learning_rates == {"policy.optimizer": applied}


def test_unknown_settings_name_no_algorithm(tmp_path: Path) -> None:
    from tests.archives import write_sb3

    assert scan(write_sb3(tmp_path / "m.zip", {}, {"learning_rate": 0.1})).algorithm is None
