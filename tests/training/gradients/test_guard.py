"""Gradients are seen, clipped and refused where they are used, whatever the algorithm."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EveryNTimesteps,
)
from stable_baselines3.common.logger import configure

from fixtures.faulty_training import train
from sacdoctor.training import GradientGuard, create_zero_prevention_system
from sacdoctor.training.gradients import GradientHooks
from sacdoctor.training.live import LiveModel

pytestmark = pytest.mark.slow

OPTIMIZERS = ("actor.optimizer", "critic.optimizer", "ent_coef_optimizer")


def optimizer(model: BaseAlgorithm, name: str) -> th.optim.Optimizer:
    found: Any = model
    for part in name.split("."):
        found = getattr(found, part)
    return found


def weights(model: BaseAlgorithm) -> dict[str, th.Tensor]:
    return {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}


def same(a: dict[str, th.Tensor], b: dict[str, th.Tensor]) -> bool:
    return a.keys() == b.keys() and all(th.equal(a[name], b[name]) for name in a)


class Spy(BaseCallback):
    """Hooks of the test's own on every optimizer of SAC, after those of the guard."""

    def __init__(self, look: Callable[[str, th.optim.Optimizer], None], after: bool) -> None:
        super().__init__()
        self._look, self._after = look, after
        self.handles: list[Any] = []

    def _on_training_start(self) -> None:
        for name in OPTIMIZERS:
            found = optimizer(self.model, name)
            register = (
                found.register_step_post_hook if self._after else found.register_step_pre_hook
            )
            self.handles.append(register(lambda o, a, k, name=name: self._look(name, o)))

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        for handle in self.handles:
            handle.remove()


def norm(found: th.optim.Optimizer) -> float:
    gradients = [p.grad for g in found.param_groups for p in g["params"] if p.grad is not None]
    return float(np.sqrt(sum((gradient.double() ** 2).sum().item() for gradient in gradients)))


def hooks(model: BaseAlgorithm) -> int:
    return sum(len(optimizer(model, name)._optimizer_step_pre_hooks) for name in OPTIMIZERS)


@pytest.mark.parametrize(
    "guard",
    [
        lambda: GradientGuard(max_grad_norm=1.0, verbose=0),
        lambda: create_zero_prevention_system(max_grad_norm=1.0, verbose=0),
    ],
    ids=["guard", "factory"],
)
def test_applied_norms_of_sac_never_exceed_the_limit(guard: Callable[[], BaseCallback]) -> None:
    applied: dict[str, list[float]] = {name: [] for name in OPTIMIZERS}
    spy = Spy(lambda name, found: applied[name].append(norm(found)), after=True)
    model = train("SAC", steps=0, environment={"reward_scale": 100.0})
    callback = guard()
    model.learn(150, callback=[callback, spy])
    records = callback.gradients  # type: ignore[attr-defined]
    for name in OPTIMIZERS:
        assert len(applied[name]) == 118  # 150 steps, 32 of them before learning starts
        assert records[name].steps == 118
    for name in ("actor.optimizer", "critic.optimizer"):
        assert max(applied[name]) <= 1.0 + 1e-6
    # A single number has no direction to be kept; clipping would only slow it down.
    assert max(applied["ent_coef_optimizer"]) > 1.0
    assert records["ent_coef_optimizer"].clipped == 0
    assert records["critic.optimizer"].clipped > 80
    assert max(applied["critic.optimizer"]) > 0.99
    assert records["critic.optimizer"].largest > 10.0


def test_clipping_scales_as_pytorch_does() -> None:
    """Each gradient after clipping is the one that `clip_grad_norm_` makes of a copy."""
    expected: dict[str, list[th.Tensor]] = {}
    compared = []

    def clip_copies(name: str, found: th.optim.Optimizer) -> None:
        copies = [th.zeros_like(p) for p in found.param_groups[0]["params"]]
        for copy, parameter in zip(copies, found.param_groups[0]["params"], strict=True):
            copy.grad = parameter.grad.clone()
        if name != "ent_coef_optimizer":
            th.nn.utils.clip_grad_norm_(copies, 0.5)
        expected[name] = [copy.grad for copy in copies]  # type: ignore[misc]

    def compare(name: str, found: th.optim.Optimizer) -> None:
        applied = [p.grad for p in found.param_groups[0]["params"]]
        for ours, theirs in zip(applied, expected[name], strict=True):
            assert th.allclose(ours, theirs, rtol=1e-5, atol=1e-9)
        compared.append(name)

    spies = [Spy(clip_copies, False), GradientGuard(0.5, verbose=0), Spy(compare, True)]
    train("SAC", steps=0).learn(60, callback=spies)
    assert len(compared) == 3 * 28


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("limit", [None, 1.0])
def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(
    value: float, limit: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    model = train("SAC", steps=0)
    found = optimizer(model, "critic.optimizer")
    poisoned: list[tuple[list[th.Tensor], list[th.Tensor]]] = []

    def poison(name: str, found: th.optim.Optimizer) -> None:
        if name == "critic.optimizer" and len(poisoned) < 30:
            last = found.param_groups[0]["params"][-1]
            last.grad.view(-1)[-1] = value
            poisoned.append((values(found), moments(found)))

    def compare(name: str, found: th.optim.Optimizer) -> None:
        if name == "critic.optimizer" and 0 < len(poisoned) <= compared[0] + 1 <= 30:
            before = poisoned[compared[0]]
            compared[0] += 1
            assert all(map(th.equal, before[0], values(found)))
            assert all(map(th.equal, before[1], moments(found)))

    compared = [0]
    guard = create_zero_prevention_system(max_grad_norm=limit, verbose=0)
    spies = [Spy(poison, after=False), guard, Spy(compare, after=True)]
    model.learn(100, callback=CallbackList(spies))
    assert compared == [30]
    assert guard.gradients["critic.optimizer"].skipped == 30
    assert guard.gradients["critic.optimizer"].steps == 68 - 30
    assert found.state[found.param_groups[0]["params"][0]]["step"].item() == 38
    assert all(tensor.isfinite().all() for tensor in weights(model).values())
    said = [r.getMessage() for r in caplog.records if "not finite" in r.getMessage()]
    assert len(said) == 2  # the first and the tenth
    assert "critic.optimizer" in said[0]


def values(found: th.optim.Optimizer) -> list[th.Tensor]:
    return [p.detach().clone() for g in found.param_groups for p in g["params"]]


def moments(found: th.optim.Optimizer) -> list[th.Tensor]:
    return [t.clone() for state in found.state.values() for t in state.values()]


def test_huge_finite_gradients_are_clipped_not_skipped() -> None:
    model = train("SAC", steps=0)

    def enlarge(name: str, found: th.optim.Optimizer) -> None:
        if name != "ent_coef_optimizer":
            found.param_groups[0]["params"][0].grad.view(-1)[0] = 3e38

    guard = GradientGuard(1.0, verbose=0)
    applied: list[float] = []
    spies = [
        Spy(enlarge, after=False),
        guard,
        Spy(
            lambda name, found: name == "ent_coef_optimizer" or applied.append(norm(found)),
            after=True,
        ),
    ]
    model.learn(40, callback=spies)
    assert guard.records["actor.optimizer"].clipped == 8
    assert guard.records["actor.optimizer"].skipped == 0
    assert max(applied) <= 1.0 + 1e-6


@pytest.mark.parametrize("algorithm", ["SAC", "TD3", "DDPG", "TQC", "PPO", "QRDQN"])
def test_watching_alone_changes_no_bit(algorithm: str) -> None:
    alone = train(algorithm, steps=0)  # a model's construction seeds the global generators
    alone.learn(90)
    watched = train(algorithm, steps=0)
    guard = GradientGuard(verbose=0)
    watched.learn(90, callback=guard)
    assert same(weights(alone), weights(watched))
    assert sum(record.steps for record in guard.records.values()) > 0


def test_the_norm_is_that_of_all_gradients_of_the_optimizer() -> None:
    seen: list[float] = []
    spy = Spy(
        lambda name, found: seen.append(norm(found)) if name == "actor.optimizer" else None,
        after=True,
    )
    guard = GradientGuard(verbose=0)
    train("SAC", steps=0).learn(60, callback=[guard, spy])
    record = guard.records["actor.optimizer"]
    assert record.last == pytest.approx(seen[-1], rel=1e-5)
    assert record.largest == pytest.approx(max(seen), rel=1e-5)


@pytest.mark.parametrize(
    "build",
    [GradientGuard, create_zero_prevention_system],
    ids=["guard", "factory"],
)
def test_an_explosion_is_warned_of_sparsely(build: Any, caplog: pytest.LogCaptureFixture) -> None:
    calls = [0]

    def explode(name: str, found: th.optim.Optimizer) -> None:
        calls[0] += name == "critic.optimizer"
        if name == "critic.optimizer" and calls[0] > 400:  # 20 norms have been taken
            found.param_groups[0]["params"][0].grad.mul_(1e6)

    callback = build(verbose=0)
    train("SAC", steps=0).learn(550, callback=[Spy(explode, after=False), callback])
    said = [r for r in caplog.records if "the gradient norm in" in r.getMessage()]
    assert [finding.kind for finding in callback._hooks.findings] == ["gradient-norm"] * len(said)
    assert {r.levelno for r in said} == {logging.WARNING}
    assert 1 <= len(said) <= 3
    assert all("critic.optimizer" in r.getMessage() for r in said)


def test_one_batch_that_stands_out_is_no_explosion() -> None:
    weight = th.nn.Parameter(th.zeros(2))  # a single number is not judged
    optimizer = th.optim.SGD([weight], lr=0.0)
    hooks = GradientHooks(None, 10.0)
    hooks.attach({"agent": optimizer})
    for step in range(200):
        weight.grad = th.full((2,), 1.0 if step % 10 else 1e5)
        optimizer.step()
    assert hooks.findings == []
    hooks.detach()


def test_norms_are_in_the_csv_that_sb3_writes(tmp_path: Path) -> None:
    model = train("SAC", steps=0)
    model.set_logger(configure(str(tmp_path), ["csv", "stdout"]))
    model.learn(140, callback=GradientGuard(1.0, verbose=0), log_interval=1)
    model.logger.close()
    header = (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")
    for label in ("actor", "critic", "ent_coef"):
        assert f"sacdoctor/gradient_norm/{label}" in header
    assert "sacdoctor/gradients_clipped" in header


def test_models_are_saved_while_it_is_attached(tmp_path: Path) -> None:
    model = train("SAC", steps=0)
    saving = CheckpointCallback(50, str(tmp_path))
    model.learn(100, callback=[GradientGuard(1.0, verbose=0), saving])
    loaded = SAC.load(tmp_path / "rl_model_100_steps.zip", device="cpu")
    assert hooks(loaded) == 0
    assert set(model.critic.optimizer.state_dict()) == {"state", "param_groups"}  # type: ignore[union-attr]


def test_hooks_are_gone_after_training() -> None:
    model = train("SAC", steps=0)
    model.learn(60, callback=GradientGuard(verbose=0))
    assert hooks(model) == 0


def in_pytorch() -> Any:
    return th.nn.utils.clip_grad_norm_


@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "DQN", "RecurrentPPO", "QRDQN"])
@pytest.mark.parametrize(
    "build",
    [lambda: GradientGuard(verbose=0), lambda: create_zero_prevention_system(verbose=0)],
    ids=["guard", "factory"],
)
def test_norms_are_those_before_the_algorithms_own_clipping(
    algorithm: str, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The norm of each step is the one that `clip_grad_norm_` returns, which SB3 drops."""
    returned: list[float] = []
    own = in_pytorch()

    def spy(*args: Any, **kwargs: Any) -> th.Tensor:
        norm = own(*args, **kwargs)
        returned.append(float(norm))
        return norm

    monkeypatch.setattr(th.nn.utils, "clip_grad_norm_", spy)
    model = train(algorithm, steps=0)
    model.max_grad_norm = 1e-3
    callback = build()
    model.learn(128, callback=callback)
    assert in_pytorch() is spy
    records = callback.gradients
    ((_, record),) = records.items()
    assert record.steps == record.measured == len(returned) > 0
    assert record.largest == pytest.approx(max(returned), rel=1e-5)
    assert record.last == pytest.approx(returned[-1], rel=1e-5)
    assert record.largest > 2e-3


def test_a_clipping_that_is_not_of_all_gradients_is_not_the_norm_of_the_step() -> None:
    parameters = [th.nn.Parameter(th.zeros(1)) for _ in range(2)]
    optimizer = th.optim.SGD(parameters, lr=0.1)
    hooks = GradientHooks(None, None)
    hooks.attach({"policy": optimizer})
    for parameter, gradient in zip(parameters, (3.0, 4.0), strict=True):
        parameter.grad = th.tensor([gradient])
    th.nn.utils.clip_grad_norm_(parameters[:1], 1.0)
    optimizer.step()
    assert hooks.records["policy"].last == pytest.approx(np.sqrt(17.0), rel=1e-5)
    th.nn.utils.clip_grad_norm_(iter(parameters), 1.0)
    optimizer.step()
    assert hooks.records["policy"].last == pytest.approx(np.sqrt(17.0), rel=1e-5)
    hooks.detach()


def test_a_loop_of_ones_own_has_its_gradients_clipped_and_refused_without_sb3() -> None:
    weight = th.nn.Parameter(th.zeros(2))
    optimizer = th.optim.SGD([weight], lr=1.0)
    hooks = GradientHooks(max_grad_norm=1.0, warning=None)
    hooks.attach({"agent": optimizer})
    weight.grad = th.tensor([3.0, 4.0])
    optimizer.step()
    assert weight.tolist() == pytest.approx([-0.6, -0.8], rel=1e-5)
    weight.grad = th.tensor([1.0, float("nan")])
    optimizer.step()
    assert weight.tolist() == pytest.approx([-0.6, -0.8], rel=1e-5)
    assert (hooks.records["agent"].clipped, hooks.records["agent"].skipped) == (1, 1)
    hooks.detach()
    weight.grad = th.tensor([30.0, 40.0])
    optimizer.step()
    assert weight.tolist() == pytest.approx([-30.6, -40.8], rel=1e-5)


class Crash(BaseCallback):
    def _on_step(self) -> bool:
        if self.num_timesteps == 50:
            raise RuntimeError("stop here")
        return True


def test_hooks_of_a_run_that_raised_are_gone_at_the_next() -> None:
    model = train("SAC", steps=0)
    crashed = GradientGuard(verbose=0)
    with pytest.raises(RuntimeError, match="stop here"):
        model.learn(100, callback=[crashed, Crash()])
    taken = crashed.records["critic.optimizer"].steps
    model.learn(60)  # another run, without it: its hooks see that their run is over
    assert hooks(model) == 0
    assert crashed.records["critic.optimizer"].steps == taken


@pytest.mark.parametrize("algorithm", ["SAC", "PPO"])
def test_nothing_is_left_behind_by_an_error_between_updates(algorithm: str) -> None:
    """Hooks are on while optimizers step, and PyTorch's clipping is watched then alone."""
    own = in_pytorch()
    model = train(algorithm, steps=0)
    found = [o for n, o in LiveModel.of(model).optimizers.items()]
    for callback in (GradientGuard(verbose=0), create_zero_prevention_system(verbose=0)):
        with pytest.raises(RuntimeError, match="stop here"):
            model.learn(100, callback=[callback, Crash()])
        assert not any(o._optimizer_step_pre_hooks for o in found)
        assert in_pytorch() is own


@pytest.mark.parametrize("list_of_them", [False, True])
def test_inside_an_event_the_hooks_go_and_the_summary_comes_at_the_end(
    list_of_them: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    model, guard = train("SAC", steps=0), GradientGuard()
    system = create_zero_prevention_system()
    inner = CallbackList([guard, system]) if list_of_them else guard
    event = EveryNTimesteps(20, inner)
    model.learn(60, callback=event)
    assert guard.records["critic.optimizer"].steps == 28
    assert hooks(model) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("sacdoctor: gradients:") for line in lines) == 1
    assert sum("checks of" in line for line in lines) == list_of_them
    assert not {"on_training_end", "on_rollout_start", "on_rollout_end"} & set(vars(event))


def test_the_same_guard_serves_two_runs() -> None:
    model, guard = train("SAC", steps=0), GradientGuard(verbose=0)
    model.learn(60, callback=guard)
    model.learn(40, callback=guard, reset_num_timesteps=False)
    assert guard.records["critic.optimizer"].steps == 40
    assert hooks(model) == 0


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_must_be_above_zero(limit: float) -> None:
    with pytest.raises(ValueError, match="max_grad_norm"):
        GradientGuard(limit)
