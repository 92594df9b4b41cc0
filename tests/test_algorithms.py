"""What is known of each algorithm is what SB3 and sb3-contrib do, and what their agents save."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch as th
from gymnasium import spaces

from sacdoctor import Checkpoint, Report, algorithms, scan
from sacdoctor.algorithms import (
    PARTS_WITH_OPTIMIZER,
    TRAINED_VARIABLES,
    Algorithm,
    algorithm_in,
    algorithm_named,
    algorithm_of,
)
from tests import torch_truth
from tests.agents import ALGORITHMS, KINDS, VECTOR, TinyEnv, train
from tests.archives import members_of, write_sb3, zip_of
from tests.diagnosis.handmade import adam
from tests.extended import Extended

ROWS = algorithms.ALGORITHMS


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


def test_class_names_tell_what_tensor_names_would(saved_agent: tuple[str, str, Path]) -> None:
    """Where code alone is looked at, no tensor is read."""
    name, _, path = saved_agent
    with Checkpoint(path) as checkpoint:
        assert algorithm_of(checkpoint.hyperparameters, ()) == name


def test_every_algorithm_is_here() -> None:
    assert len(ALGORITHMS) == 13
    assert {name for name, _ in KINDS} == set(ALGORITHMS) == set(ROWS)


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
    assert scan(write_sb3(tmp_path / "m.zip", {}, {"learning_rate": 0.1})).algorithm is None


# -- older releases ----------------------------------------------------------------------------

OFF_POLICY = {"learning_starts": 100}
SAC_1 = {**OFF_POLICY, "target_entropy": -1.0, "target_update_interval": 1}
TD3_1 = {**OFF_POLICY, "target_noise_clip": 0.5, "policy_delay": 2}
DQN_1 = {**OFF_POLICY, "exploration_fraction": 0.1, "exploration_schedule": None} | {
    "target_update_interval": 10_000,
    "max_grad_norm": 10,
}
PPO_1 = {"clip_range": None, "gae_lambda": 0.95, "max_grad_norm": 0.5}
COMMON = "sb3_contrib.common"
SAVED: dict[str, dict[str, dict[str, Any]]] = {
    # What the constructors of these releases keep in themselves, of all that any row looks at:
    # read from their sources, the wheels on PyPI.
    "0.6.0": {"SAC": SAC_1, "TD3": TD3_1, "PPO": PPO_1},
    "0.8.0": {
        "SAC": SAC_1,
        "TD3": TD3_1,
        "DDPG": {**TD3_1, "target_noise_clip": 0.0, "policy_delay": 1},
        "DQN": DQN_1,
        "PPO": PPO_1,
        "A2C": {"gae_lambda": 1.0, "max_grad_norm": 0.5},
    },
    "1.0": {
        "TQC": {**SAC_1, "top_quantiles_to_drop_per_net": 2},
        "QRDQN": {**DQN_1, "n_quantiles": 200, "max_grad_norm": None},
    },
    "1.8.0": {
        "MaskablePPO": {
            **PPO_1,
            "policy_class": f"{COMMON}.maskable.policies.MaskableActorCriticPolicy",
        },
        "RecurrentPPO": {
            **PPO_1,
            "policy_class": f"{COMMON}.recurrent.policies.RecurrentActorCriticPolicy",
        },
        "TRPO": {"cg_max_steps": 15, "gae_lambda": 0.95, "max_grad_norm": 0.0},
        "ARS": {"delta_std_schedule": None, "n_delta": 8},
    },
}


class Saved(dict[str, Any]):
    """Settings by key; those that are a text stand for a class of that name."""

    def number(self, key: str) -> float | None:
        value = self.get(key)
        return float(value) if isinstance(value, (int, float)) else None

    def class_name(self, key: str) -> str | None:
        value = self.get(key)
        return value if isinstance(value, str) else None


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param(name, settings, id=f"{release}-{name}")
        for release, agents in SAVED.items()
        for name, settings in agents.items()
    ],
)
def test_agents_of_older_releases_are_told(name: str, settings: dict[str, Any]) -> None:
    assert algorithm_of(Saved(settings), ()) == name


def test_a2c_was_a_ppo_in_sb3_0_6() -> None:
    """`class A2C(PPO)`: it saves all that PPO does."""
    assert algorithm_of(Saved(PPO_1), ()) == "PPO"


def test_the_lstm_tells_a_policy_of_ones_own() -> None:
    settings = Saved({**PPO_1, "policy_class": "mine.TwoHeadPolicy"})
    assert algorithm_of(settings, ["lstm_actor.weight_ih_l0"]) == "RecurrentPPO"
    assert algorithm_of(settings, ["mine.lstm_actor.weight_ih_l0"]) == "PPO"


def test_no_two_rows_have_the_same_precedence() -> None:
    assert len({row.precedence for row in ROWS.values()}) == len(ROWS)


# -- the rows, held against the classes --------------------------------------------------------

each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def environment(row: Algorithm) -> TinyEnv:
    return TinyEnv(VECTOR, discrete=not row.continuous_only)


def fresh(row: Algorithm) -> Any:
    """An agent of this algorithm that was never trained."""
    options = {"buffer_size": 10} if row.replays else {}
    return ALGORITHMS[row.name](row.policy, environment(row), device="cpu", **options)


@each_row
def test_package_is_where_the_class_is_imported_from(row: Algorithm) -> None:
    assert ALGORITHMS[row.name].__module__.partition(".")[0] == row.package


@each_row
def test_a_row_knows_what_the_constructor_takes(row: Algorithm) -> None:
    parameters = inspect.signature(ALGORITHMS[row.name]).parameters
    assert ("max_grad_norm" in parameters) == row.clips
    assert ("learning_starts" in parameters) == row.replays
    if row.clips:
        assert parameters["max_grad_norm"].default == row.max_grad_norm


@each_row
def test_default_activation_is_that_of_every_policy(row: Algorithm) -> None:
    signatures = map(inspect.signature, ALGORITHMS[row.name].policy_aliases.values())
    found = [s.parameters["activation_fn"] for s in signatures if "activation_fn" in s.parameters]
    assert {parameter.default.__name__ for parameter in found} == {row.default_activation}


@each_row
def test_optimizers_and_variables_are_what_is_saved(row: Algorithm) -> None:
    modules, variables = fresh(row)._get_torch_save_params()
    assert set(modules) == {"policy", *row.optimizers, *row.variables}
    assert variables == list(row.variables.values())


@each_row
def test_targets_are_the_policys_second_networks(row: Algorithm) -> None:
    networks = dict(fresh(row).policy.named_children())
    assert {name for name in networks if "target" in name} == {f"{n}_target" for n in row.targets}
    assert set(row.targets) <= set(networks)


@each_row
def test_whether_actions_must_be_continuous(row: Algorithm) -> None:
    build = ALGORITHMS[row.name]
    if row.continuous_only:
        with pytest.raises(AssertionError, match="only supports"):
            build(row.policy, TinyEnv(VECTOR, discrete=True))
    else:
        assert isinstance(build(row.policy, TinyEnv(VECTOR, True)).action_space, spaces.Discrete)


@each_row
def test_whether_actions_are_masked(row: Algorithm) -> None:
    learn = inspect.signature(ALGORITHMS[row.name].learn).parameters
    assert ("use_masking" in learn) == row.needs_masks


@each_row
def test_a_policy_whose_optimizers_stand_still_moves_by_other_means(
    row: Algorithm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(th.optim.Adam, "step", lambda *_, **__: None)
    monkeypatch.setattr(th.optim.RMSprop, "step", lambda *_, **__: None)
    start = {n: p.clone() for n, p in train(row.name, row.policy).policy.named_parameters()}
    moved = train(row.name, row.policy)
    moved.learn(96)
    end = moved.policy.named_parameters()
    assert any(not th.equal(start[n], p) for n, p in end) == row.updates_by_other_means


def test_only_a_random_search_has_no_optimizer() -> None:
    assert {row.name for row in ROWS.values() if not row.optimizers} == {
        row.name for row in ROWS.values() if not row.has_gradients
    }


def test_parts_and_variables_of_all_algorithms() -> None:
    assert {"actor", "critic"} == PARTS_WITH_OPTIMIZER
    assert TRAINED_VARIABLES == {"ent_coef_optimizer": "log_ent_coef"}


# -- names -------------------------------------------------------------------------------------

RL_ZOO = {
    # rl_zoo3/utils.py, ALGOS, by hand.
    **{name: name.upper() for name in ("a2c", "ddpg", "dqn", "ppo", "sac", "td3")},
    **{name: name.upper() for name in ("ars", "qrdqn", "tqc", "trpo")},
    "crossq": "CrossQ",
    "ppo_lstm": "RecurrentPPO",
}


def test_rl_zoos_names_are_understood() -> None:
    assert {name: algorithm_named(name) for name in RL_ZOO} == RL_ZOO
    assert {row.name for row in ROWS.values() if row.in_rl_zoo} == set(RL_ZOO.values())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sac", "SAC"),
        ("SAC", "SAC"),
        ("ppo_lstm", "RecurrentPPO"),
        ("recurrent-ppo", "RecurrentPPO"),
        ("MaskablePPO", "MaskablePPO"),
        ("stable_baselines3.sac.SAC", "SAC"),
        ("sb3_contrib.QRDQN", "QRDQN"),
        ("crossq", "CrossQ"),
        ("aes", None),
        ("", None),
    ],
)
def test_algorithms_go_by_several_names(text: str, name: str | None) -> None:
    assert algorithm_named(text) == name


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("sac", "SAC"),
        ("ppo_lstm", "RecurrentPPO"),
        ("my_ppo_lstm_run", "RecurrentPPO"),
        ("trading-td3.v2", "TD3"),
        ("sac_or_ppo", None),
        ("settings", None),
        ("disaccord", None),
    ],
)
def test_a_file_may_be_named_after_its_algorithm(stem: str, name: str | None) -> None:
    assert algorithm_in(stem) == name


# -- an algorithm from outside -----------------------------------------------------------------

TOY = """Algorithm(
        "Toy",
        package="toy_rl",
        recognises=_saves("toy_factor"),
        precedence=100,
        learning_rates=LearningRates(
            recommended=2e-6, low=1e-6, high=3e-6, tuned=3e-6, source="the toy's paper"
        ),
        default_activation="Tanh",
        optimizers=("planner.optimizer", "critic.optimizer"),
        also_called=("toy_planner",),
        variables={"temperature_optimizer": "log_temperature"},
        replays=True,
        in_rl_zoo=False,
    )"""


@pytest.fixture(scope="module")
def with_toy(tmp_path_factory: pytest.TempPathFactory) -> Extended:
    """The package with one row more in `algorithms.py`, and nothing else changed."""
    extended = Extended(tmp_path_factory.mktemp("toy"))
    extended.add_row("algorithms.py", TOY)
    return extended


@pytest.fixture
def toy_model(tmp_path: Path, healthy_bytes: bytes) -> Path:
    """A RecurrentPPO's checkpoint as an algorithm that descends from it would save it."""
    members = members_of(healthy_bytes)
    members["data"] = json.dumps({**json.loads(members["data"]), "toy_factor": 1}).encode()
    path = tmp_path / "toy.zip"
    path.write_bytes(zip_of(members))
    return path


def found(report: dict[str, Any], rules: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {f["rule"]: f for f in report["findings"] if f["rule"] in rules}


def test_without_its_row_it_goes_by_the_algorithm_it_descends_from(toy_model: Path) -> None:
    assert scan(toy_model).algorithm == "RecurrentPPO"


def test_a_row_makes_an_algorithm_known_to_scan(with_toy: Extended, toy_model: Path) -> None:
    report = with_toy.scan(toy_model)
    assert report["algorithm"] == "Toy"
    rate = found(report, ["SD401"])["SD401"]
    assert rate["message"] == "the learning rate 0.0003 is outside Toy's safe range"
    assert "150 times the recommended 2e-6" in rate["evidence"]


def test_a_row_makes_an_algorithm_known_to_fix_config(with_toy: Extended, toy_model: Path) -> None:
    assert with_toy.run("fix-config", "--algorithm", "toy-planner").startswith(
        "algorithm: Toy\nlearning_rate: 2.0e-6  # safe: 1e-6 to 3e-6\n"
    )
    script = with_toy.run("fix-config", "--algorithm", "Toy", "--format", "python")
    assert "from toy_rl import Toy\n" in script
    assert "    learning_starts=5_000," in script
    assert "Toy(...) takes no max_grad_norm: the callback clips" in script
    corrected = with_toy.run("fix-config", toy_model)
    assert "learning_rate: 2.0e-6  # was 3e-4; safe: 1e-6 to 3e-6\n" in corrected


def test_a_row_says_which_optimizers_look_after_what(with_toy: Extended, tmp_path: Path) -> None:
    """`planner.optimizer` is not in the file, so nothing proves that the planner is in none."""
    policy = {
        "planner.bias": th.zeros(4),
        "critic.weight": th.full((2, 4), 0.5),
        "critic.bias": th.full((2,), 0.5),
    }
    optimizers = {
        "critic.optimizer": adam([th.ones(2, 4), th.ones(2)]),
        "temperature_optimizer": adam([th.ones(1)]),
    }
    path = write_sb3(tmp_path / "m.zip", policy, {"toy_factor": 1, "_n_updates": 9}, optimizers)
    causes = {x["name"]: x["cause"] for x in with_toy.scan(path)["layers"] if x["zeros"]}
    assert causes == {"planner.bias": "unknown"}
    del optimizers["temperature_optimizer"]
    write_sb3(path, policy, {"toy_factor": 1, "_n_updates": 9}, optimizers)
    assert [bias.cause for bias in scan(path).biases if bias.zeros] == ["not-in-optimizer"]
