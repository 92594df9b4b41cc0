"""State dicts at any depth, and the optimizers beside them: each at its own part, or at none."""

from __future__ import annotations

import argparse
import contextlib
import copy
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch as th
from torch import nn

from sacdoctor import Checkpoint, scan
from sacdoctor.checkpoint.optimizer_names import looked_after, part_words
from sacdoctor.diagnosis import Facts
from sacdoctor.errors import SacdoctorError
from tests.archives import saved

Parts = dict[str, nn.Module]


def network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))


def parts() -> Parts:
    th.manual_seed(0)
    found = {"actor": network(3, 2), "critic1": network(5, 1), "critic2": network(5, 1)}
    targets = {f"{name}_target": copy.deepcopy(found[name]) for name in ("critic1", "critic2")}
    return {**found, **targets}


def stepped(*modules: nn.Module, steps: int = 3, kind: Any = th.optim.Adam) -> Any:
    """The state of an optimizer that moved all of them."""
    parameters = [p for module in modules for p in module.parameters()]
    optimizer = kind(parameters, lr=1e-3)
    for step in range(steps):
        for parameter in parameters:
            parameter.grad = th.full_like(parameter, 0.1 + step)
        optimizer.step()
    return optimizer.state_dict()


def sd(module: nn.Module) -> dict[str, th.Tensor]:
    return dict(module.state_dict())


def slots(path: Path) -> dict[str, tuple[str, int]]:
    """The one slot of each tensor that has one."""
    with Checkpoint(path) as checkpoint:
        found = Facts(checkpoint).coverage.slots
    return {name: (slot.optimizer, slot.number) for name, (slot,) in found.items()}


def names_in(path: Path) -> set[str]:
    with Checkpoint(path) as checkpoint:
        return set(checkpoint.tensors)


def written(tmp_path: Path, content: Any, *, legacy: bool = False) -> Path:
    path = tmp_path / "agent.pt"
    path.write_bytes(saved(content, legacy=legacy))
    return path


# -- where state dicts stand -------------------------------------------------------------------

NAMES = ("fc.weight", "fc.bias")


def layer() -> dict[str, th.Tensor]:
    return {"fc.weight": th.ones(2, 3), "fc.bias": th.tensor([0.0, 1.0])}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before-torch-1.6"])
@pytest.mark.parametrize(
    ("content", "prefixes"),
    [
        ({"model": layer(), "optim": 0.5}, ["model."]),
        ({"actor": layer(), "critic": layer()}, ["actor.", "critic."]),
        ({"actor_state_dict": layer(), "critic_state_dict": layer()}, ["actor.", "critic."]),
        ({"agent": {"actor": layer(), "steps": 3}}, ["agent.actor."]),
        ({"net": layer()}, ["net."]),
        ({"agents": [{"pi": layer()}, {"pi": layer()}]}, ["agents.0.pi.", "agents.1.pi."]),
        ({"a": {"b": {"c": {"d": {"state_dict": layer()}}}}}, ["a.b.c.d."]),
        ({"state_dict": layer(), "ema": layer()}, ["", "ema."]),
        ({"state_dict": layer()}, [""]),
    ],
    ids=lambda value: " ".join(value) or "whole" if isinstance(value, list) else "",
)
def test_the_path_to_a_state_dict_is_the_prefix_of_its_names(
    tmp_path: Path, content: Any, prefixes: list[str], legacy: bool
) -> None:
    path = written(tmp_path, content, legacy=legacy)
    assert names_in(path) == {f"{prefix}{name}" for prefix in prefixes for name in NAMES}


def test_two_parts_of_one_name_are_both_there(tmp_path: Path) -> None:
    path = written(tmp_path, {"actor": layer(), "actor_state_dict": layer()})
    assert names_in(path) >= {"actor.fc.weight", "actor_state_dict.fc.weight"}


def test_a_module_that_was_pickled_whole_has_its_own_names(tmp_path: Path) -> None:
    module = nn.ModuleDict(parts())
    trained = [module[name] for name in ("actor", "critic1", "critic2")]
    path = tmp_path / "module.pt"
    th.save({"agent": module, "optimizer": stepped(*trained)}, path)
    assert names_in(path) == {f"agent.{name}" for name in module.state_dict()}
    assert scan(path).status == "healthy"


def test_moments_and_transitions_are_no_parts(tmp_path: Path) -> None:
    module = network(3, 2)
    optimizer = th.optim.Adam(module.parameters())
    module[0].weight.grad = th.ones(8, 3)
    optimizer.step()
    buffer = {"states": th.zeros(5, 3), "actions": th.zeros(5, 1), "rewards": th.full((5,), th.nan)}
    path = tmp_path / "agent.pt"
    th.save({"actor": sd(module), "whole": optimizer, "buffer": buffer}, path)
    assert names_in(path) == {f"actor.{name}" for name in module.state_dict()}


def test_what_a_policy_of_sb3_saves_by_itself_opens(tmp_path: Path) -> None:
    from stable_baselines3 import SAC

    model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]})
    model.policy.save(str(tmp_path / "policy.pth"))
    report = scan(tmp_path / "policy.pth")
    assert report.status == "healthy"
    assert {layer.name for layer in report.layers} == set(model.policy.state_dict())


@pytest.mark.parametrize("content", [[1, 2], argparse.Namespace(lr=0.5), th.zeros(3), "text"])
def test_what_holds_no_mapping_to_tensors_is_refused_in_a_line(
    tmp_path: Path, content: Any
) -> None:
    path = tmp_path / "other.pt"
    th.save(content, path)
    with pytest.raises(SacdoctorError, match="holds no state dict"):
        scan(path)


def test_a_mapping_without_tensors_is_not_called_healthy(tmp_path: Path) -> None:
    assert scan(written(tmp_path, {"steps": 3})).status == "unknown"


# -- counters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counters", "expected"),
    [
        ({"total_steps": 8000, "n_updates": 7000}, (8000, 7000)),
        ({"global_step": th.tensor(5)}, (5, None)),
        ({"agent": {"total_it": 9}, "step": 4}, (4, 9)),
        ({"config": {"total_steps": 10**6}}, (None, None)),
        ({"config": argparse.Namespace(total_steps=10**6)}, (None, None)),
        ({"total_steps": "many", "step": -1}, (None, None)),
    ],
    ids=str,
)
def test_counters_are_read_and_plans_are_not(
    tmp_path: Path, counters: Any, expected: tuple[int | None, int | None]
) -> None:
    path = tmp_path / "agent.pt"
    th.save({"actor": layer(), **counters}, path)
    report = scan(path)
    assert (report.num_timesteps, report.n_updates) == expected


# -- whose optimizer it is ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        *(("actor_optimizer", ["actor"]), ("optimizer_actor", ["actor"]), ("pi_optim", ["actor"])),
        *(("actorOptimizer", ["actor"]), ("actor_optimizer_state_dict", ["actor"])),
        *(("critic_optimizer", ["critic1", "critic2"]), ("q_optimizer", ["critic1", "critic2"])),
        *(
            ("critic1_optimizer", ["critic1"]),
            ("critic_2_opt", ["critic2"]),
            ("qf2_opt", ["critic2"]),
        ),
        *(("optim", ["actor", "critic1", "critic2", "log_alpha"]), ("a_opt", [])),
        *(("alpha_optimizer", ["log_alpha"]), ("ent_coef_optim", ["log_alpha"])),
    ],
)
def test_an_optimizers_name_names_its_parts(optimizer: str, expected: list[str]) -> None:
    names = ("actor", "critic1", "critic2", "log_alpha")
    known = {name: part_words((name,)) for name in names}
    assert [*looked_after((optimizer,), known)] == expected


def test_an_optimizer_belongs_to_what_it_stands_beside() -> None:
    known = {f"{a}.{b}": part_words((a, b)) for a in ("first", "second") for b in ("pi", "v")}
    assert looked_after(("first", "optimizer"), known) == ("first.pi", "first.v")
    assert looked_after(("optimizers", "second", "v"), known) == ("second.v",)


Layout = Callable[[Parts], tuple[dict[str, Any], dict[str, list[str]]]]


def _each(p: Parts) -> tuple[dict[str, Any], dict[str, list[str]]]:
    optimizers = {f"{name}_optimizer": stepped(p[name]) for name in ("actor", "critic1", "critic2")}
    content = {**{name: sd(module) for name, module in p.items()}, **optimizers}
    return content, {f"{name}_optimizer": [name] for name in ("actor", "critic1", "critic2")}


def _one_for_both_critics(p: Parts) -> tuple[dict[str, Any], dict[str, list[str]]]:
    content: dict[str, Any] = {name: sd(module) for name, module in p.items()}
    content["actor_optim"] = stepped(p["actor"])
    content["critic_optim"] = stepped(p["critic1"], p["critic2"])
    return content, {"actor_optim": ["actor"], "critic_optim": ["critic1", "critic2"]}


def _one_for_all_in_another_order(p: Parts) -> tuple[dict[str, Any], dict[str, list[str]]]:
    content: dict[str, Any] = {name: sd(module) for name, module in p.items()}
    content["optimizer"] = stepped(p["critic1"], p["critic2"], p["actor"])
    return content, {"optimizer": ["critic1", "critic2", "actor"]}


def _in_one_module(p: Parts) -> tuple[dict[str, Any], dict[str, list[str]]]:
    module = nn.ModuleDict(p)
    optimizers = {
        "pi_optimizer": stepped(p["actor"]),
        "q_optimizer": stepped(p["critic1"], p["critic2"]),
    }
    return {"agent": sd(module), **optimizers}, {
        "pi_optimizer": ["agent.actor"],
        "q_optimizer": ["agent.critic1", "agent.critic2"],
    }


def _in_folders(p: Parts) -> tuple[dict[str, Any], dict[str, list[str]]]:
    actor = {"network": sd(p["actor"]), "optimizer": stepped(p["actor"])}
    critic = {"network": sd(p["critic1"]), "optimizer": stepped(p["critic1"])}
    return {"actor": actor, "critic": critic}, {
        "actor.optimizer": ["actor.network"],
        "critic.optimizer": ["critic.network"],
    }


@pytest.mark.parametrize(
    "layout",
    [_each, _one_for_both_critics, _one_for_all_in_another_order, _in_one_module, _in_folders],
)
def test_every_entry_is_given_to_its_own_parameter(tmp_path: Path, layout: Layout) -> None:
    content, expected = layout(parts())
    order = [name for name, _ in network(1, 1).named_parameters()]
    wanted = {
        f"{prefix}.{name}": (optimizer, number)
        for optimizer, prefixes in expected.items()
        for number, (prefix, name) in enumerate((p, n) for p in prefixes for n in order)
    }
    path = written(tmp_path, content)
    assert slots(path) == wanted
    assert scan(path).status == "healthy"


@pytest.mark.parametrize("layout", [_each, _one_for_both_critics, _one_for_all_in_another_order])
def test_zeros_after_training_have_their_cause(tmp_path: Path, layout: Layout) -> None:
    content, _ = layout(parts())
    content["critic1"]["0.bias"] = th.zeros(8)
    content["critic1_target"]["0.bias"] = th.zeros(8)
    report = scan(written(tmp_path, content))
    assert {layer.name: layer.cause for layer in report.layers if layer.cause} == {
        "critic1.0.bias": "reset-after-training",
        "critic1_target.0.bias": "reset-after-training",
    }


def findings(path: Path) -> dict[str, set[str]]:
    """The modules that each finding is about."""
    return {
        finding.rule: {name.partition(".")[0] for name in finding.tensors}
        for finding in scan(path).findings
    }


def test_a_part_that_the_only_optimizer_leaves_out_is_named(tmp_path: Path) -> None:
    p = parts()
    content: dict[str, Any] = {name: sd(module) for name, module in p.items()}
    content["optimizer"] = stepped(p["critic1"], p["critic2"])
    assert findings(written(tmp_path, content)) == {"SD202": {"actor"}}


def test_an_optimizer_made_from_another_part_is_told(tmp_path: Path) -> None:
    p = parts()
    content = {"actor": sd(p["actor"]), "critic": sd(p["critic1"])}
    content |= {"critic_optimizer": stepped(p["critic1"]), "actor_optimizer": stepped(p["critic1"])}
    assert findings(written(tmp_path, content)) == {"SD202": {"actor"}}


@pytest.mark.parametrize("kind", [th.optim.Adam, th.optim.AdamW, th.optim.RMSprop])
def test_a_part_whose_optimizer_never_stepped_is_frozen(tmp_path: Path, kind: Any) -> None:
    p = parts()
    content, _ = _each(p)
    content["critic1_optimizer"] = stepped(p["critic1"], steps=100, kind=kind)
    content["actor_optimizer"] = stepped(p["actor"], steps=0, kind=kind)
    path = written(tmp_path, content)
    assert findings(path) == {"SD203": {"actor"}}
    assert scan(path).status == "warning"


def test_an_optimizer_that_keeps_nothing_accuses_nobody(tmp_path: Path) -> None:
    p = parts()
    content, _ = _each(p)
    content["critic1_optimizer"] = stepped(p["critic1"], steps=100)
    content["actor_optimizer"] = stepped(p["actor"], steps=0, kind=th.optim.SGD)
    assert findings(written(tmp_path, content)) == {}


def _silent(content: dict[str, Any], p: Parts) -> Iterable[tuple[str, dict[str, Any]]]:
    """Files in which a name or a shape might mislead."""
    yield "only one optimizer was saved", {"critic1_optimizer": content["critic1_optimizer"]}
    yield "nobody knows whose it is", {"a_opt": stepped(p["actor"]), "b_opt": stepped(p["critic1"])}
    yield (
        "an order that nobody knows",
        {
            "actor_optimizer": stepped(nn.Sequential(*[*p["actor"]][::-1])),
            "critic_optimizer": stepped(p["critic1"], p["critic2"]),
        },
    )
    yield (
        "one of two that are alike",
        {
            "actor_optimizer": stepped(p["actor"]),
            "critic_optimizer": stepped(p["critic1"]),
        },
    )
    yield (
        "nothing was trained yet",
        {
            "actor_optimizer": stepped(p["actor"], steps=0),
            "critic_optimizer": stepped(p["critic1"], p["critic2"], steps=0),
        },
    )
    yield (
        "a temperature",
        {
            "optimizer": stepped(p["actor"], p["critic1"], p["critic2"]),
            "alpha_optimizer": stepped(nn.ParameterList([th.zeros(1)])),
        },
    )


@pytest.mark.parametrize("number", range(6))
def test_what_is_not_proven_is_not_said(tmp_path: Path, number: int) -> None:
    p = parts()
    content, _ = _each(p)
    case, optimizers = [*_silent(content, p)][number]
    networks = {name: sd(module) for name, module in p.items()}
    networks |= {"ema": sd(p["actor"]), "old_policy": sd(p["actor"])}
    assert findings(written(tmp_path, {**networks, **optimizers})) == {}, case


# -- zeros that were never anything else -------------------------------------------------------


def with_silent_units(count: int, *, spectral: bool = False) -> dict[str, Any]:
    """An actor whose biases began at 0, and so many of whose 16 units never had a gradient."""
    th.manual_seed(1)
    first = nn.Linear(3, 16)
    nn.init.zeros_(first.bias)
    module = nn.Sequential(nn.utils.spectral_norm(first) if spectral else first, nn.Linear(16, 2))
    optimizer = th.optim.Adam(module.parameters(), lr=1e-3)
    for _ in range(5):
        for parameter in module.parameters():
            parameter.grad = th.ones_like(parameter)
        for name, parameter in module[0].named_parameters():
            assert name in ("bias", "weight", "weight_orig")
            parameter.grad[:count] = 0.0
        optimizer.step()
    return {"actor": sd(module), "actor_optimizer": optimizer.state_dict()}


@pytest.mark.parametrize("spectral", [False, True])
def test_a_few_units_that_were_never_active_are_no_dead_ones(
    tmp_path: Path, spectral: bool
) -> None:
    path = written(tmp_path, with_silent_units(7, spectral=spectral))
    report = scan(path)
    assert (report.status, report.findings) == ("notice", ())
    (layer,) = (layer for layer in report.layers if layer.cause)
    assert (layer.name, layer.zeros, layer.severity) == ("actor.0.bias", 7, "notice")
    assert "the 0 that they started with" in (layer.evidence or "")


def test_a_layer_of_which_no_unit_was_ever_active_is_dead(tmp_path: Path) -> None:
    assert "SD204" in findings(written(tmp_path, with_silent_units(16)))


def with_targets_of_zero_biases(*, followed: bool) -> dict[str, Any]:
    p = parts()
    for module in (p["critic1"], p["critic1_target"]):
        for layer in (module[0], module[2]):
            nn.init.orthogonal_(layer.weight)
            nn.init.zeros_(layer.bias)
    p["critic1_target"].load_state_dict(p["critic1"].state_dict())
    state = stepped(p["critic1"])
    content = {"critic1": sd(p["critic1"]), "critic1_target": sd(p["critic1_target"])}
    if followed:
        weights = {name: t.clone() for name, t in content["critic1"].items()}
        content["critic1_target"] = {**weights, "0.bias": th.zeros(8)}
    return {**content, "critic1_optimizer": state}


def test_a_target_before_its_first_update_is_in_order(tmp_path: Path) -> None:
    report = scan(written(tmp_path, with_targets_of_zero_biases(followed=False)))
    assert (report.status, report.findings) == ("notice", ())


def test_a_target_that_followed_and_lost_its_biases_is_not(tmp_path: Path) -> None:
    path = written(tmp_path, with_targets_of_zero_biases(followed=True))
    assert findings(path)["SD206"] == {"critic1_target"}


# -- files made to take time -------------------------------------------------------------------


def _deep() -> Any:
    content: Any = {"fc.weight": th.ones(1)}
    for _ in range(400):
        content = {"a": content}
    return {"b": content, "fc.bias": th.ones(1)}


def _wide() -> Any:
    value = th.ones(1)
    parts = {f"q{n}_target": {"0.weight": value} for n in range(1500)}
    return {**parts, **{f"q{n}": {"0.weight": value} for n in range(1500)}}


def _many_optimizers() -> Any:
    value = th.ones(1)
    content: Any = {f"actor{n}": {"fc.weight": value} for n in range(1500)}
    for n in range(1500):
        group = {"lr": 0.1, "params": [0]}
        content[f"actor{n}_optimizer"] = {"state": {}, "param_groups": [group]}
    return content


def _long_names() -> Any:
    key = "k" * 200_000
    content: Any = {f"{n}": {"fc.weight": th.ones(1)} for n in range(50)}
    for _ in range(20):
        content = {key: content}
    return content


@pytest.mark.parametrize("make", [_deep, _wide, _many_optimizers, _long_names])
def test_what_is_made_to_take_time_takes_little(tmp_path: Path, make: Callable[[], Any]) -> None:
    path = written(tmp_path, make())
    start = time.perf_counter()
    with contextlib.suppress(SacdoctorError):
        scan(path)
    assert time.perf_counter() - start < 5.0
