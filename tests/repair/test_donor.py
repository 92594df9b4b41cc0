"""Values that still exist somewhere are taken over: from targets, donors, online networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch as th

from sacdoctor.repair import RepairError, RepairOptions, fix
from tests.archives import saved, write_sb3
from tests.repair import truth
from tests.repair.conftest import ODD, Patients
from tests.torch_truth import state_dict

FROM_TARGET = RepairOptions(from_target=True)
ONLINE = {
    "SAC": ("critic.*bias",),
    "TQC": ("critic.*bias",),
    "TD3": ("actor.*bias", "critic.*bias"),
    "DDPG": ("actor.*bias", "critic.*bias"),
    "DQN": ("q_net.*bias",),
    "QRDQN": ("quantile_net.*bias",),
}
"""The networks that have a target network, by algorithm."""

each_algorithm = pytest.mark.parametrize("algorithm", ONLINE)


def targets_of(patterns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(pattern.replace(".", "_target.", 1) for pattern in patterns)


def target_name(name: str) -> str:
    network, _, rest = name.partition(".")
    return f"{network}_target.{rest}"


def layer(name: str, bias: th.Tensor) -> dict[str, th.Tensor]:
    return {f"{name}.weight": th.ones(len(bias), 2, dtype=bias.dtype), f"{name}.bias": bias}


# -- from the target network -------------------------------------------------------------------


@each_algorithm
def test_dead_online_values_come_from_the_living_target(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    source, output = patients.hurt(algorithm, *ONLINE[algorithm]), tmp_path / "out.zip"
    result = fix(source, output=output, options=FROM_TARGET)
    before, after = state_dict(source), state_dict(output)
    dead = truth.dead_biases(before)
    assert dead
    for name in dead:
        assert truth.same(after[name], before[target_name(name)])
    assert {repair.by for repair in result.plan.repaired} == {"target"}


@each_algorithm
def test_without_being_asked_the_target_gives_nothing(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    source, output = patients.hurt(algorithm, *ONLINE[algorithm]), tmp_path / "out.zip"
    result = fix(source, output=output)
    assert {repair.by for repair in result.plan.repaired} == {"reinit"}


def test_where_the_target_is_dead_too_the_value_is_drawn(tmp_path: Path) -> None:
    """Element by element: what the target has is recovered, what it has not is drawn."""
    target = th.tensor([0.5, 0.0, float("nan"), float("inf"), -0.25, 0.0])
    state = layer("critic.qf0.0", th.zeros(6)) | layer("critic_target.qf0.0", target)
    result = fix(write_sb3(tmp_path / "m.zip", state), options=FROM_TARGET)
    after = state_dict(tmp_path / "m_FIXED.zip")
    online = after["critic.qf0.0.bias"]
    assert online[[0, 4]].tolist() == [0.5, -0.25]
    drawn = online[[1, 2, 3, 5]]
    assert bool(((drawn != 0) & (drawn.abs() <= 0.01)).all())
    # The target's zeros take the values that the online network was just given.
    repaired_target = after["critic_target.qf0.0.bias"]
    assert repaired_target[[1, 5]].tolist() == online[[1, 5]].tolist()
    assert truth.same(repaired_target[[0, 2, 3, 4]], target[[0, 2, 3, 4]])
    said = [(repair.name, repair.by, repair.elements) for repair in result.plan.repaired]
    assert said == [
        ("critic.qf0.0.bias", "target", 2),
        ("critic.qf0.0.bias", "reinit", 4),
        ("critic_target.qf0.0.bias", "online", 2),
    ]


def test_in_the_old_format_two_sources_for_one_tensor_both_arrive(tmp_path: Path) -> None:
    target = th.tensor([0.5, 0.0, -0.25, 0.0])
    state = layer("critic.0", th.zeros(4)) | layer("critic_target.0", target)
    source = write_sb3(tmp_path / "m.zip", saved(state, legacy=True))
    fix(source, options=FROM_TARGET)
    after = state_dict(tmp_path / "m_FIXED.zip")
    assert after["critic.0.bias"][[0, 2]].tolist() == [0.5, -0.25]
    assert after["critic.0.bias"].all()
    assert truth.same(after["critic_target.0.bias"][[0, 2]], target[[0, 2]])
    assert truth.same(after["critic_target.0.bias"][[1, 3]], after["critic.0.bias"][[1, 3]])


def test_recovered_forget_gates_are_the_targets_not_one(tmp_path: Path) -> None:
    lstm = th.nn.LSTM(3, 4).state_dict()
    state = {f"critic.m.{n}": t for n, t in lstm.items()}
    state |= {f"critic_target.m.{n}": t.clone() for n, t in lstm.items()}
    state["critic.m.bias_ih_l0"] = th.zeros(16)
    fix(write_sb3(tmp_path / "m.zip", state), options=FROM_TARGET)
    after = state_dict(tmp_path / "m_FIXED.zip")
    assert truth.same(after["critic.m.bias_ih_l0"], lstm["bias_ih_l0"])


@pytest.mark.parametrize("algorithm", ["PPO", "CrossQ"])
def test_donor_target_without_target_networks_is_refused(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    source, output = patients.hurt(algorithm, "*bias*"), tmp_path / "out.zip"
    with pytest.raises(RepairError, match="no target networks"):
        fix(source, output=output, options=FROM_TARGET)
    assert not output.exists()


def test_a_target_of_another_shape_is_refused(tmp_path: Path) -> None:
    state = layer("critic.0", th.zeros(4)) | layer("critic_target.0", th.ones(5))
    source = write_sb3(tmp_path / "m.zip", state)
    with pytest.raises(RepairError, match=r"critic_target\.0\.bias.*\[5\].*\[4\]") as error:
        fix(source, options=FROM_TARGET)
    assert error.value.path == source
    assert list(tmp_path.iterdir()) == [source]


# -- the other way round: target networks ------------------------------------------------------


@each_algorithm
def test_a_target_that_alone_is_dead_takes_the_online_value(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    source = patients.hurt(algorithm, *targets_of(ONLINE[algorithm]), index=ODD)
    output = tmp_path / "out.zip"
    result = fix(source, output=output)
    before, after = state_dict(source), state_dict(output)
    dead = truth.dead_biases(before)
    assert dead
    for name in dead:
        online = before[name.replace("_target", "", 1)]
        expected = th.where(before[name] == 0, online, before[name])
        assert truth.same(after[name], expected)
        assert truth.same(after[name.replace("_target", "", 1)], online)
    assert {repair.by for repair in result.plan.repaired} == {"online"}
    assert result.plan.optimizer == ()


@each_algorithm
def test_where_both_are_dead_both_get_the_same_value(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    patterns = ONLINE[algorithm]
    source, output = patients.hurt(algorithm, *patterns, *targets_of(patterns)), tmp_path / "o.zip"
    fix(source, output=output)
    before, after = state_dict(source), state_dict(output)
    online = [n for n in truth.dead_biases(before) if target_name(n) in before]
    assert online
    for name in online:
        assert truth.same(after[name], after[target_name(name)])
        assert bool((after[name] != 0).all())


def test_a_dead_target_without_online_counterpart_is_refused(tmp_path: Path) -> None:
    state = layer("critic_target.0", th.zeros(4)) | layer("critic.1", th.ones(4))
    source = write_sb3(tmp_path / "m.zip", state)
    with pytest.raises(RepairError, match=r"critic_target\.0\.bias.*no online counterpart"):
        fix(source)
    assert list(tmp_path.iterdir()) == [source]


def test_a_target_stays_dead_where_the_online_bias_is_healthily_zero(tmp_path: Path) -> None:
    """A tenth of the online bias is zero: no fault, so its target's zeros there are none either."""
    online, target = th.ones(20), th.ones(20)
    online[0], target[:10] = 0.0, 0.0
    state = layer("critic.0", online) | layer("critic_target.0", target)
    result = fix(write_sb3(tmp_path / "m.zip", state))
    after = state_dict(tmp_path / "m_FIXED.zip")
    assert truth.same(after["critic_target.0.bias"], online)
    assert truth.same(after["critic.0.bias"], online)
    assert any(left.name == "critic_target.0.bias" for left in result.plan.left)


# -- from an earlier checkpoint ----------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["SAC", "PPO", "RecurrentPPO", "A2C"])
def test_dead_values_come_back_from_an_earlier_checkpoint(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    source, donor = patients.hurt(algorithm, "*bias*"), patients.healthy(algorithm)
    output = tmp_path / "out.zip"
    result = fix(source, output=output, donor=donor)
    earlier, after = state_dict(donor), state_dict(output)
    for name in truth.dead_biases(state_dict(source)):
        # A target network that is dead as well follows its online network.
        assert truth.same(after[name], earlier[name.replace("_target.", ".", 1)])
    assert {repair.by for repair in result.plan.repaired} <= {"donor", "online"}


def test_living_values_are_not_the_donors(tmp_path: Path) -> None:
    own = th.tensor([0.0, 0.0, 7.0, 8.0])
    source = write_sb3(tmp_path / "m.zip", layer("fc", own))
    donor = write_sb3(tmp_path / "d.zip", layer("fc", th.tensor([1.0, 2.0, 3.0, 4.0])))
    fix(source, donor=donor)
    assert state_dict(tmp_path / "m_FIXED.zip")["fc.bias"].tolist() == [1.0, 2.0, 7.0, 8.0]


@pytest.mark.parametrize("dtype", [th.float16, th.bfloat16, th.float64])
def test_where_the_donor_is_dead_too_the_value_is_drawn(tmp_path: Path, dtype: th.dtype) -> None:
    source = write_sb3(tmp_path / "m.zip", layer("fc", th.zeros(4, dtype=dtype)))
    there = th.tensor([0.5, -0.0, float("nan"), -float("inf")], dtype=dtype)
    result = fix(source, donor=write_sb3(tmp_path / "d.zip", layer("fc", there)))
    after = state_dict(tmp_path / "m_FIXED.zip")["fc.bias"].double()
    assert after[0] == 0.5
    assert bool(((after[1:] != 0) & (after[1:].abs() <= 0.01)).all())
    assert [(r.by, r.elements) for r in result.plan.repaired] == [("donor", 1), ("reinit", 3)]


def test_a_bare_state_dict_can_be_a_donor(tmp_path: Path) -> None:
    source = write_sb3(tmp_path / "m.zip", layer("fc", th.zeros(4)))
    (tmp_path / "d.pth").write_bytes(saved(layer("fc", th.full((4,), 0.5))))
    fix(source, donor=tmp_path / "d.pth")
    assert state_dict(tmp_path / "m_FIXED.zip")["fc.bias"].tolist() == 4 * [0.5]


def test_target_comes_before_donor_before_draw(tmp_path: Path) -> None:
    target = th.tensor([1.0, 0.0, 0.0])
    state = layer("critic.0", th.zeros(3)) | layer("critic_target.0", target)
    source = write_sb3(tmp_path / "m.zip", state)
    donor = write_sb3(tmp_path / "d.zip", layer("critic.0", th.tensor([2.0, 2.0, 0.0])))
    fix(source, donor=donor, options=FROM_TARGET)
    after = state_dict(tmp_path / "m_FIXED.zip")["critic.0.bias"]
    assert after[:2].tolist() == [1.0, 2.0]
    assert 0 < abs(float(after[2])) <= 0.01


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (layer("fc", th.ones(5)), r"fc\.bias is float32 \[5\], not float32 \[4\]"),
        (layer("fc", th.ones(4, dtype=th.float64)), r"float64 \[4\], not float32 \[4\]"),
        ({"fc.weight": th.ones(4, 2), "fc.bias": th.ones(1, 4)}, r"\[1, 4\], not"),
        (layer("other", th.ones(4)), r"no tensor fc\.bias"),
    ],
    ids=["size", "type", "dimensions", "name"],
)
def test_a_donor_that_does_not_fit_is_refused(
    tmp_path: Path, state: dict[str, th.Tensor], reason: str
) -> None:
    source = write_sb3(tmp_path / "m.zip", layer("fc", th.zeros(4)))
    donor = write_sb3(tmp_path / "d.zip", state)
    with pytest.raises(RepairError, match=reason) as error:
        fix(source, donor=donor)
    assert error.value.path == donor
    assert sorted(tmp_path.iterdir()) == [donor, source]


def test_a_donor_need_not_hold_what_is_not_dead(tmp_path: Path) -> None:
    state = layer("fc", th.zeros(4)) | layer("new", th.ones(4))
    source = write_sb3(tmp_path / "m.zip", state)
    donor = write_sb3(tmp_path / "d.zip", layer("fc", th.ones(4)))
    fix(source, donor=donor)
    assert state_dict(tmp_path / "m_FIXED.zip")["fc.bias"].tolist() == 4 * [1.0]


def test_a_normalisations_bias_comes_from_a_donor_and_is_never_drawn(
    patients: Patients, tmp_path: Path
) -> None:
    name = "actor.latent_pi.0.bias"  # CrossQ begins each network with BatchRenorm
    source, healthy = patients.hurt("CrossQ", name), patients.healthy("CrossQ")
    assert state_dict(healthy)[name].all()
    without = fix(source, dry_run=True)
    assert name in {left.name for left in without.plan.left}
    assert name not in {repair.name for repair in without.plan.repaired}
    result = fix(source, output=tmp_path / "out.zip", donor=healthy)
    assert {repair.by for repair in result.plan.repaired if repair.name == name} == {"donor"}
    assert truth.same(state_dict(tmp_path / "out.zip")[name], state_dict(healthy)[name])
