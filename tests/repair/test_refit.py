"""Dead elements are fitted to what a replay buffer recorded, and nothing else moves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from sb3_contrib import QRDQN, TQC, CrossQ
from stable_baselines3 import DDPG, DQN, SAC, TD3
from stable_baselines3.common.noise import NormalActionNoise

from fixtures.make import one_thread
from fixtures.policies import TwoHeadSACPolicy, two_head_sac_kwargs
from fixtures.trading import TradingEnv
from sacdoctor import SacdoctorError, load
from sacdoctor.repair import FixResult, RepairOptions, fix
from sacdoctor.repair.refit.critics import Expected, lambda_returns
from sacdoctor.repair.refit.proof import Gain, decisive, gain
from tests.archives import members_of
from tests.conftest import ROOT, child_environment
from tests.repair import truth
from tests.torch_truth import state_dict

pytestmark = pytest.mark.slow

STEPS = 1500
NOISE = NormalActionNoise(np.zeros(1), 0.1 * np.ones(1))


class Recorded(NamedTuple):
    """A run's checkpoint, its hurt copy, the buffer beside them, and the agent as it was."""

    model: Any
    hurt: Path
    buffer: Path


def agent(algorithm: type[Any], policy: Any, env: gym.Env[Any, Any], **settings: Any) -> Any:
    """An agent whose biases matter, and that has seen what its own policy does, at random seeds.

    It hardly learns: what the buffer holds is what this one policy did.
    """
    with one_thread():
        settings = {"policy_kwargs": {"net_arch": [32, 32]}} | settings
        model = algorithm(
            policy, env, learning_starts=0, buffer_size=2 * STEPS, seed=0, device="cpu", **settings
        )
        draws = th.Generator().manual_seed(1)
        with th.no_grad():
            for name, parameter in model.policy.named_parameters():
                if "bias" in name and "target" not in name and "log_std" not in name:
                    parameter += 0.6 * th.randn(parameter.shape, generator=draws)
            for name, parameter in model.policy.named_parameters():
                if "_target." in name:
                    online = name.replace("_target.", ".", 1)
                    parameter.copy_(model.policy.state_dict()[online])
        model.gradient_steps = 0
        model.learn(200)
        for group in (g for o in optimizers(model) for g in o.param_groups):
            group["lr"] = 0.0
        model.lr_schedule = lambda _: 0.0
        model.train(20, 64)  # for the optimizers' state and the running means of CrossQ
        model.replay_buffer.reset()
        model.learn(STEPS)
    return model


def optimizers(model: Any) -> list[th.optim.Optimizer]:
    if hasattr(model, "actor"):
        return [model.actor.optimizer, model.critic.optimizer]
    return [model.policy.optimizer]


def recorded(model: Any, folder: Path, dead: Callable[[str], bool]) -> Recorded:
    model.save_replay_buffer(folder / "model_replay_buffer.pkl")
    kept = {name: value.clone() for name, value in model.policy.state_dict().items()}
    with th.no_grad():
        for name, parameter in model.policy.named_parameters():
            # A normalisation whose weights are all 1 is as it was made: its zeros are no fault.
            is_norm = kept.get(name.removesuffix("bias") + "weight", parameter[None]).dim() < 2
            if "bias" in name and not is_norm and dead(name):
                parameter.zero_()
    schedule, model.lr_schedule = model.lr_schedule, None
    model.save(folder / "model.zip", exclude=["lr_schedule"])
    model.lr_schedule = schedule
    model.policy.load_state_dict(kept)
    return Recorded(model, folder / "model.zip", folder / "model_replay_buffer.pkl")


def everything(_: str) -> bool:
    return True


def of_actor(name: str) -> bool:
    return name.startswith("actor.")


def of_critics(name: str) -> bool:
    return name.startswith("critic")


def pendulum() -> gym.Env[Any, Any]:
    return gym.make("Pendulum-v1")


MAKERS: dict[str, Callable[[], Any]] = {
    "SAC": lambda: agent(SAC, "MlpPolicy", pendulum()),
    "gSDE": lambda: agent(SAC, "MlpPolicy", pendulum(), use_sde=True),
    "TQC": lambda: agent(TQC, "MlpPolicy", pendulum()),
    "CrossQ": lambda: agent(CrossQ, "MlpPolicy", pendulum()),
    "TD3": lambda: agent(TD3, "MlpPolicy", pendulum(), action_noise=NOISE),
    "DDPG": lambda: agent(DDPG, "MlpPolicy", pendulum(), action_noise=NOISE),
    "two heads": lambda: agent(
        SAC,
        TwoHeadSACPolicy,
        TradingEnv(bars=4, features=6),
        policy_kwargs=two_head_sac_kwargs("small"),
    ),
}
made: dict[str, Any] = {}


def model_of(name: str) -> Any:
    if name not in made:
        made[name] = MAKERS[name]()
    return made[name]


def apart(first: Any, second: Any) -> float:
    """How far apart two actors' actions are, on what the first one observed."""
    seen = th.as_tensor(first.replay_buffer.observations[:STEPS, 0])
    with th.no_grad():
        return float((act(first, seen) - act(second, seen)).pow(2).mean().sqrt())


def act(model: Any, seen: th.Tensor) -> th.Tensor:
    is_random = hasattr(model.actor, "action_dist")
    found: th.Tensor = model.actor(seen, deterministic=True) if is_random else model.actor(seen)
    return found


each_actor = pytest.mark.parametrize("name", [*MAKERS])


@each_actor
def test_an_actor_comes_back_from_what_it_did(tmp_path: Path, name: str) -> None:
    """Only biases moved: the actions are those of the undamaged agent again, all but a little.

    The critics of these agents hardly learned: they are dead, too, and judge nothing.
    """
    model, hurt, buffer = recorded(model_of(name), tmp_path, everything)
    result = fix(hurt, donor=buffer, options=RepairOptions(trust=("fixtures",)))
    account = result.plan.refits[0]
    assert (account.network, account.is_written) == ("actor", True)
    assert 0.0 < account.low < account.after - account.before < account.high
    output = tmp_path / "model_FIXED.zip"
    truth.assert_only_zeros_changed(state_dict(hurt), state_dict(output))
    truth.assert_sound(output)
    dead, mended = (load(path, trust=["fixtures"]) for path in (hurt, output))
    for one in (model, dead, mended):
        one.policy.set_training_mode(False)
    # Actions of one policy count less the older they are, as if they were of several.
    assert apart(model, mended) < 0.5 * apart(model, dead)


@pytest.mark.parametrize("algorithm", [DQN, QRDQN])
def test_values_whose_targets_are_dead_too_are_fitted_to_what_was_done(
    tmp_path: Path, algorithm: Any
) -> None:
    pole = gym.make("CartPole-v1")
    settings = {"exploration_fraction": 1e-6, "exploration_final_eps": 0.05}
    model = agent(algorithm, "MlpPolicy", pole, **settings)
    _, hurt, buffer = recorded(model, tmp_path, everything)
    result = fix(hurt, donor=buffer)
    (account,) = result.plan.refits
    assert account.network in ("q_net", "quantile_net")
    assert account.is_written
    assert account.after > account.before
    online, target = account.network, f"{account.network}_target"
    after = state_dict(tmp_path / "model_FIXED.zip")
    for name in account.tensors:
        assert truth.same(after[name], after[name.replace(online, target, 1)])


def test_a_living_critic_is_heeded_more_than_what_was_done_long_ago(tmp_path: Path) -> None:
    """The buffer is of another policy, but the critic was taught to like what the actor does: it
    decides, and the actor comes back; the likelihood alone would have made it that other one."""
    model = agent(SAC, "MlpPolicy", pendulum())
    seen = th.as_tensor(model.replay_buffer.observations[:STEPS, 0])
    liked = act(model, seen).detach()
    draws = th.Generator().manual_seed(2)
    teacher = th.optim.Adam(model.critic.parameters(), lr=3e-3)
    for _ in range(400):
        rows = th.randint(STEPS, (128,), generator=draws)
        tried = 2.0 * th.rand((128, 1), generator=draws) - 1.0
        wanted = -10.0 * (tried - liked[rows]).pow(2)
        loss = sum((q - wanted).pow(2).mean() for q in model.critic(seen[rows], tried))
        teacher.zero_grad()
        loss.backward()
        teacher.step()
    other = 0.7 * liked + 0.3 + 0.05 * th.randn(liked.shape, generator=draws)
    model.replay_buffer.actions[:STEPS, 0] = other.clamp(-1.0, 1.0).numpy()
    with th.no_grad():
        model.log_ent_coef.fill_(-7.0)
    model, hurt, buffer = recorded(model, tmp_path, of_actor)
    (account,) = fix(hurt, donor=buffer).plan.refits
    assert (account.measure, account.is_written) == ("value that the critic expects", True)
    mended = load(tmp_path / "model_FIXED.zip")
    assert apart(model, mended) < 0.5 * float((other - liked).pow(2).mean().sqrt())


def test_the_noise_of_gsde_is_drawn_for_each_row_and_not_once() -> None:
    """As SB3 has it on average over its draws: one draw for all would make any action unlikely
    whose features stretch along it, and a fit would take that for entropy."""
    model = model_of("gSDE")
    seen = th.as_tensor(model.replay_buffer.observations[:1, 0]).repeat(2000, 1)
    of_sb3 = th.zeros(1000)
    with th.no_grad(), th.random.fork_rng():
        th.manual_seed(0)
        for draw in range(len(of_sb3)):
            model.actor.reset_noise()
            action, log_prob = model.actor.action_log_prob(seen[:1])
            value = th.cat(model.critic(seen[:1], action)).min()
            of_sb3[draw] = value - model.log_ent_coef.exp() * log_prob
        own = Expected(model)(seen)
    assert float(own.std()) == pytest.approx(float(of_sb3.std()), rel=0.2)
    assert abs(float(own.mean() - of_sb3.mean())) < 4.0 * float(of_sb3.std()) / len(of_sb3) ** 0.5


# -- what else moves: nothing --------------------------------------------------------------------


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return recorded(model_of("SAC"), tmp_path_factory.mktemp("sac"), everything)


@pytest.fixture(scope="module")
def result(case: Recorded) -> FixResult:
    return fix(case.hurt, output=case.hurt.with_name("out.zip"), donor=case.buffer)


def test_only_dead_elements_and_their_moments_change(case: Recorded, result: FixResult) -> None:
    output = Path(result.output or "")
    truth.assert_only_zeros_changed(state_dict(case.hurt), state_dict(output))
    touched = {"policy.pth", "actor.optimizer.pth", "critic.optimizer.pth"}
    truth.assert_surgical(case.hurt, output, touched)
    truth.assert_sound(output)
    assert {r.by for r in result.plan.repaired} <= {"refit", "reinit", "online"}
    assert "refit" in {r.by for r in result.plan.repaired}


def test_the_files_that_were_read_are_untouched(case: Recorded, tmp_path: Path) -> None:
    before = case.hurt.read_bytes(), case.buffer.read_bytes()
    fix(case.hurt, output=tmp_path / "o.zip", donor=case.buffer)
    assert (case.hurt.read_bytes(), case.buffer.read_bytes()) == before


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_killed_at_any_moment_of_a_refit_nothing_is_half_done(tmp_path: Path) -> None:
    _, hurt, buffer = recorded(model_of("SAC"), tmp_path, lambda n: n == "actor.mu.bias")
    script = [str(ROOT / "tests" / "repair" / "killed.py"), str(hurt), "12", str(buffer)]
    done = subprocess.run(
        [sys.executable, *script], env=child_environment(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["wrong"], found["killed"]) == ([], 12)


def test_the_same_seed_gives_the_same_bytes_whatever_torch_did_before(
    case: Recorded, result: FixResult, tmp_path: Path
) -> None:
    threads, state = th.get_num_threads(), th.get_rng_state()
    th.manual_seed(12345)
    th.set_num_threads(2)
    drawn = th.get_rng_state()
    fix(case.hurt, output=tmp_path / "o.zip", donor=case.buffer)
    assert th.get_num_threads() == 2 and th.equal(th.get_rng_state(), drawn)
    th.set_num_threads(threads)
    th.set_rng_state(state)
    assert (tmp_path / "o.zip").read_bytes() == Path(result.output or "").read_bytes()
    fix(case.hurt, output=tmp_path / "p.zip", donor=case.buffer, options=RepairOptions(seed=1))
    assert (tmp_path / "p.zip").read_bytes() != (tmp_path / "o.zip").read_bytes()


def test_the_figures_stand_in_the_file(case: Recorded, result: FixResult) -> None:
    note = json.loads(members_of(Path(result.output or "").read_bytes())["sacdoctor.json"])[
        "repairs"
    ][-1]
    assert [figures["network"] for figures in note["refits"]] == ["actor", "critic"]
    assert note["refits"][0]["source"] == "model_replay_buffer.pkl"
    assert note["refits"][0]["interval"][0] > 0
    assert note["refits"][0]["age"] == 0
    assert {entry["by"] for entry in note["repaired"]} >= {"refit"}


def test_a_living_target_is_asked_before_the_buffer(tmp_path: Path) -> None:
    _, hurt, buffer = recorded(model_of("TD3"), tmp_path, lambda n: n.startswith("actor."))
    result = fix(hurt, donor=buffer)
    assert {repair.by for repair in result.plan.repaired} == {"target"}
    assert result.plan.refits == ()
    assert "without it" in result.plan.unused[0].reason


# -- what is not used ----------------------------------------------------------------------------


def test_a_buffer_of_forced_actions_is_not_used(tmp_path: Path) -> None:
    model = model_of("SAC")
    kept = model.replay_buffer.actions.copy()
    model.replay_buffer.actions[:1000] = 0.0
    try:
        _, hurt, buffer = recorded(model, tmp_path, of_actor)
    finally:
        model.replay_buffer.actions[:] = kept
    plan = fix(hurt, donor=buffer).plan
    assert {repair.by for repair in plan.repaired} == {"reinit"}
    assert plan.unused[0].name == str(buffer)
    assert plan.unused[0].reason.startswith("SD503")


def test_actions_that_tell_nothing_of_the_policy_are_not_fitted(tmp_path: Path) -> None:
    """Random actions of one spread: no bias makes them likelier than another, on held-out ones."""
    model = model_of("SAC")
    kept = model.replay_buffer.actions.copy()
    zero = {n: p for n, p in model.policy.named_parameters() if of_actor(n)}
    before = {name: p.detach().clone() for name, p in zero.items()}
    with th.no_grad():
        for name, parameter in zero.items():
            parameter.zero_() if "mu" in name or "log_std" in name else None
        draws = th.Generator().manual_seed(3)
        model.replay_buffer.actions[:] = th.tanh(
            th.randn(model.replay_buffer.actions.shape, generator=draws)
        ).numpy()
    try:
        _, hurt, buffer = recorded(model, tmp_path, lambda n: n.startswith("actor.latent_pi"))
    finally:
        model.replay_buffer.actions[:] = kept
        with th.no_grad():
            for name, parameter in zero.items():
                parameter.copy_(before[name])
    plan = fix(hurt, donor=buffer).plan
    assert [account.is_written for account in plan.refits] == [False]
    assert {repair.by for repair in plan.repaired} == {"reinit"}


def test_a_buffer_of_another_task_is_refused(tmp_path: Path, case: Recorded) -> None:
    (tmp_path / "two").mkdir()
    other = recorded(model_of("two heads"), tmp_path / "two", of_actor)
    with pytest.raises(SacdoctorError, match="observations have 24 numbers") as refused:
        fix(case.hurt, output=tmp_path / "o.zip", donor=other.buffer)
    assert refused.value.path == other.buffer
    assert not (tmp_path / "o.zip").exists()


def test_a_policy_of_ones_own_is_imported_only_where_it_is_trusted(tmp_path: Path) -> None:
    _, hurt, buffer = recorded(model_of("two heads"), tmp_path, of_actor)
    with pytest.raises(SacdoctorError, match="trust"):
        fix(hurt, donor=buffer)


def test_a_fix_without_a_donor_imports_no_torch(case: Recorded, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom sacdoctor.repair import fix\n"
        f"fix({str(case.hurt)!r}, output={str(tmp_path / 'o.zip')!r})\n"
        "assert not {'torch', 'stable_baselines3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=child_environment())


def test_nothing_in_the_buffer_is_executed(case: Recorded, tmp_path: Path) -> None:
    """The pickle machine reads it: a call at its end would leave a file."""
    mark = tmp_path / "executed"
    evil = tmp_path / "evil.pkl"
    call = b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR0"
    evil.write_bytes(case.buffer.read_bytes()[:2] + call + case.buffer.read_bytes()[2:])
    with zipfile.ZipFile(case.hurt) as archive:
        assert archive.testzip() is None
    with suppress(SacdoctorError):
        fix(case.hurt, output=tmp_path / "o.zip", donor=evil)
    assert not mark.exists()


# -- the figures ---------------------------------------------------------------------------------


def test_returns_mix_what_was_earned_with_what_is_expected() -> None:
    """Worked by hand, backwards: rewards 1, 2, 4; discount 1/2, the last row ends the episode."""
    found = lambda_returns(
        rewards=np.array([1.0, 2.0, 4.0]),
        discounts=np.array([0.5, 0.5, 0.0]),
        values=np.array([10.0, 20.0, 30.0]),
        bonuses=np.array([0.0, 2.0, 0.0]),
        traces=np.array([0.0, 0.25, 1.0]),
        is_last=np.array([False, False, True]),
    )
    # 4; 2 + (2 + 4) / 2 = 5; 1 + (3/4 · 10 + 1/4 · 5) / 2 = 5.375
    assert found.tolist() == [5.375, 5.0, 4.0]


def test_an_interval_counts_stretches_and_not_rows() -> None:
    """Two stretches, better by 1 and by 3: 2 ± 1.96 · 1, as the mean of two has error 1."""
    before = th.tensor([1.0, 1.0, 3.0, 3.0])
    found = gain(before, th.zeros(4), np.array([0, 0, 1, 1]))
    assert (found.before, found.after) == (2.0, 0.0)
    assert found.low == pytest.approx(2.0 - 1.96)
    assert found.high == pytest.approx(2.0 + 1.96)


def test_rows_that_count_more_weigh_more() -> None:
    """Better by 1 with weight 3, and by 3 with weight 1: 1.5; the error is √(2 · (3² + 3²)) / 8."""
    before = th.tensor([1.0, 1.0, 3.0, 3.0])
    weights = th.tensor([3.0, 3.0, 1.0, 1.0])
    found = gain(before, th.zeros(4), np.array([0, 0, 1, 1]), weights)
    assert found.before == 1.5
    assert found.low == pytest.approx(1.5 - 1.96 * 0.75)


@pytest.mark.parametrize(
    ("value", "likelihood", "expected"),
    [
        (Gain(2.0, 1.0, 0.5, 1.5), Gain(1.0, 3.0, -2.5, -1.5), "value"),
        (Gain(2.0, 1.9, -0.1, 0.3), Gain(3.0, 1.0, 1.5, 2.5), "likelihood"),
        (Gain(2.0, 2.1, -0.3, 0.1), Gain(3.0, 1.0, 1.5, 2.5), "value"),
        (Gain(2.0, 1.9, -0.1, 0.3), Gain(3.0, 2.9, -0.1, 0.3), "value"),
    ],
    ids=["the critic proves it", "the critic cannot tell", "it says worse", "neither proves it"],
)
def test_what_was_done_decides_where_the_critic_cannot_tell(
    value: Gain, likelihood: Gain, expected: str
) -> None:
    assert decisive({"value": value, "likelihood": likelihood})[0] == expected
