"""A broken checkpoint comes out repaired, and nothing else about it has changed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch as th
from sb3_contrib import RecurrentPPO
from stable_baselines3 import SAC

from fixtures.faulty_training import SETUPS
from fixtures.make import CHECKPOINTS, make
from fixtures.trading import TradingEnv
from sacdoctor import Severity, scan
from sacdoctor.repair import RepairOptions, fix
from tests.archives import write_sb3
from tests.conftest import Run
from tests.repair import truth
from tests.repair.conftest import ODD, Patients
from tests.torch_truth import state_dict

pytestmark = pytest.mark.slow

BROKEN = ("two_head_broken", "sac_two_head_broken")
LIVES_ON = {"two_head_broken": RecurrentPPO, "sac_two_head_broken": SAC}
DEAD = {"two_head_broken": 20, "sac_two_head_broken": 15}
"""Biases that are dead in each, normalisations left out; how the policies were written."""

FORGET = "v8_shared_lstm.bias_ih_l0"


@pytest.fixture(scope="module", params=[*BROKEN, "full"])
def broken_file(request: pytest.FixtureRequest) -> Path:
    if request.param == "full":
        return Path(request.getfixturevalue("full_two_head"))
    return CHECKPOINTS / f"{request.param}.zip"


@pytest.fixture(scope="module")
def fixed(broken_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("fixed") / "out.zip"
    fix(broken_file, output=output)
    return output


def test_no_bias_is_dead_afterwards(broken_file: Path, fixed: Path) -> None:
    assert truth.dead_biases(state_dict(broken_file))
    assert not truth.dead_biases(state_dict(fixed), share=0.0)


def test_scan_calls_no_layer_worse_than_notice(fixed: Path) -> None:
    report = scan(fixed)
    worst = {layer.severity for layer in report.biases if layer.cause != "normalisation-init"}
    assert worst <= {None, Severity.OK, Severity.NOTICE}
    assert report.summary is not None
    assert (report.summary.critical, report.summary.warning) == (0, 0)


def test_only_what_no_repair_of_the_file_can_cure_is_left(broken_file: Path, fixed: Path) -> None:
    """The policy's code still makes its optimizer too early; the rate was not asked to change."""
    before, after = ({finding.rule for finding in scan(p).findings} for p in (broken_file, fixed))
    assert "SD101" in before
    assert not {"SD101", "SD102"} & after
    assert after <= before
    critical = {f.rule for f in scan(fixed).findings if f.severity is Severity.CRITICAL}
    assert critical <= {"SD202", "SD401"}


@pytest.mark.parametrize("algorithm", ["SAC", "PPO", "DQN", "RecurrentPPO"])
def test_where_the_cause_is_gone_a_scan_exits_0(
    run: Run, patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    source = patients.hurt(algorithm, "*bias*")
    assert run("scan", source).code == 1
    fix(source, output=tmp_path / "out.zip")
    assert run("scan", tmp_path / "out.zip").code == 0


def test_what_was_not_zero_is_bit_identical(broken_file: Path, fixed: Path) -> None:
    truth.assert_only_zeros_changed(state_dict(broken_file), state_dict(fixed))


def test_redrawn_values_are_small_and_never_zero(broken_file: Path, fixed: Path) -> None:
    before, after = state_dict(broken_file), state_dict(fixed)
    for name in truth.dead_biases(before):
        drawn = after[name].reshape(-1)[truth.is_zero(before[name])]
        if name.endswith(FORGET):
            drawn = drawn[drawn != 1.0]  # the forget gate, which has a test of its own
        assert bool((drawn != 0).all())
        assert float(drawn.abs().max()) <= 0.01
        assert len(drawn) < 8 or 0.001 < float(drawn.double().std()) < 0.01


def test_forget_gate_starts_at_one_where_it_was_zero(broken_file: Path, fixed: Path) -> None:
    before, after = state_dict(broken_file), state_dict(fixed)
    names = [name for name in before if name.endswith(FORGET)]
    assert names
    for name in names:
        hidden = len(before[name]) // 4
        gate = slice(hidden, 2 * hidden)
        old, new = before[name][gate], after[name][gate]
        assert bool((new[old == 0] == 1.0).all())
        assert bool((new[old != 0] == old[old != 0]).all())


def test_norms_keep_their_zeros(broken_file: Path, fixed: Path) -> None:
    before, after = state_dict(broken_file), state_dict(fixed)
    norms = {n for n in before if n.endswith("hybrid_fusion.2.bias")}
    assert norms
    for name in norms:
        assert not after[name].any()


def test_only_the_policy_is_touched(broken_file: Path, fixed: Path) -> None:
    # The dead layers of these policies are in no optimizer: there are no moments to clear.
    truth.assert_surgical(broken_file, fixed, {"policy.pth"})
    truth.assert_sound(fixed)


def test_no_more_bytes_change_than_the_dead_elements_and_checksums_have(
    broken_file: Path, fixed: Path
) -> None:
    before, after = state_dict(broken_file), state_dict(fixed)
    changed = [(before[n] != after[n]) for n in before]
    elements = sum(int(mask.sum()) for mask in changed)
    records = sum(bool(mask.any()) for mask in changed)
    with zipfile.ZipFile(broken_file) as one, zipfile.ZipFile(fixed) as other:
        old, new = one.read("policy.pth"), other.read("policy.pth")
    different = sum(a != b for a, b in zip(old, new, strict=True))
    assert elements < different <= 4 * elements + 3 * 4 * records  # a CRC stands in three places


def test_two_runs_give_the_same_bytes(broken_file: Path, fixed: Path, tmp_path: Path) -> None:
    fix(broken_file, output=tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == fixed.read_bytes()


def test_another_seed_gives_other_draws(broken_file: Path, fixed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    fix(broken_file, output=other, options=RepairOptions(seed=1))
    before, one, two = state_dict(broken_file), state_dict(fixed), state_dict(other)
    for name in truth.dead_biases(before):
        dead = truth.is_zero(before[name])
        drawn = dead & (one[name].reshape(-1) != 1.0)
        assert bool((one[name].reshape(-1)[drawn] != two[name].reshape(-1)[drawn]).all())


def test_a_second_repair_finds_nothing_to_do(fixed: Path) -> None:
    result = fix(fixed)
    assert result.plan.is_empty
    assert result.output is None


@pytest.mark.parametrize("name", BROKEN)
def test_the_number_of_dead_biases_is_the_policys(name: str, tmp_path: Path) -> None:
    result = fix(CHECKPOINTS / f"{name}.zip", output=tmp_path / "out.zip")
    assert len(result.plan.repaired) == DEAD[name]


@pytest.mark.parametrize("name", BROKEN)
def test_a_newly_trained_one_is_repaired_like_the_committed_one(name: str, tmp_path: Path) -> None:
    fix(make(name, "small", tmp_path), output=tmp_path / "out.zip")
    assert not truth.dead_biases(state_dict(tmp_path / "out.zip"), share=0.0)


@pytest.mark.parametrize("name", BROKEN)
def test_fixed_file_loads_predicts_and_trains_on(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out.zip"
    fix(CHECKPOINTS / f"{name}.zip", output=output)
    env = TradingEnv(bars=4, features=6)
    model = LIVES_ON[name].load(output, env=env, device="cpu")
    observation, _ = env.reset(seed=0)
    action, _ = model.predict(observation, deterministic=True)
    assert env.action_space.contains(action)
    before = {n: p.clone() for n, p in model.policy.named_parameters()}
    model.learn(256, reset_num_timesteps=False)
    after = dict(model.policy.named_parameters())
    assert all(bool(p.isfinite().all()) for p in after.values())
    assert any(not th.equal(before[n], p) for n, p in after.items())


# -- every algorithm ---------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", SETUPS)
def test_every_algorithm_is_repaired_and_lives_on(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    source, output = patients.hurt(algorithm, "*bias*"), tmp_path / "out.zip"
    fix(source, output=output)
    before, after = state_dict(source), state_dict(output)
    assert truth.dead_biases(before)
    assert not truth.dead_biases(after, share=0.0)
    truth.assert_only_zeros_changed(before, after)
    truth.assert_sound(output)

    trained = patients.model(algorithm)
    model = type(trained).load(output, env=trained.get_env(), device="cpu")
    assert model.num_timesteps == trained.num_timesteps
    model.predict(trained.observation_space.sample())
    model.learn(256, reset_num_timesteps=False)
    assert all(bool(p.isfinite().all()) for p in model.policy.parameters())


@pytest.mark.parametrize("algorithm", SETUPS)
def test_a_checkpoint_without_faults_comes_out_unwritten(
    patients: Patients, tmp_path: Path, algorithm: str
) -> None:
    source = tmp_path / "model.zip"
    source.write_bytes(patients.healthy(algorithm).read_bytes())
    result = fix(source)
    assert (result.output, result.after) == (None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]


def test_an_identical_copy_on_request(healthy: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy.zip"
    result = fix(healthy, output=output, copy_if_healthy=True)
    assert result.output == str(output)
    assert output.read_bytes() == healthy.read_bytes()


# -- what counts as dead -----------------------------------------------------------------------


def one_bias(tmp_path: Path, bias: th.Tensor, **options: object) -> th.Tensor:
    """The bias of a linear layer after `fix`; unchanged where nothing was written."""
    state = {"actor.mu.weight": th.ones(len(bias), 2, dtype=bias.dtype), "actor.mu.bias": bias}
    source = write_sb3(tmp_path / "m.zip", state)
    result = fix(source, options=RepairOptions(**options))
    output = source if result.output is None else Path(result.output)
    return state_dict(output)["actor.mu.bias"]


@pytest.mark.parametrize(("zeros", "repaired"), [(10, False), (11, True), (31, True), (0, False)])
def test_repair_begins_above_ten_percent(tmp_path: Path, zeros: int, repaired: bool) -> None:
    bias = th.full((100,), 0.5)
    bias[:zeros] = 0.0
    after = one_bias(tmp_path, bias)
    assert int(truth.is_zero(after).sum()) == (0 if repaired else zeros)
    assert bool((after[zeros:] == 0.5).all())


def test_negative_zero_is_dead_and_nan_is_not(tmp_path: Path) -> None:
    bias = th.tensor([-0.0, float("nan"), 0.0, float("inf"), 1e-45])
    after = one_bias(tmp_path, bias)
    assert 0 < abs(float(after[0])) <= 0.01
    assert 0 < abs(float(after[2])) <= 0.01
    assert th.equal(truth.bits(after)[[1, 3, 4]], truth.bits(bias)[[1, 3, 4]])


@pytest.mark.parametrize("dtype", [th.float16, th.bfloat16, th.float32, th.float64])
def test_every_type_gets_small_draws_that_do_not_round_to_zero(
    tmp_path: Path, dtype: th.dtype
) -> None:
    bias = th.zeros(4096, dtype=dtype)
    bias[7] = 0.25
    after = one_bias(tmp_path, bias)
    assert after.dtype == dtype
    assert float(after[7]) == 0.25
    drawn = th.cat([after[:7], after[8:]]).double()
    assert bool((drawn != 0).all())
    assert float(drawn.abs().max()) <= 0.01
    # A uniform draw from ±0.01: mean 0 ± 4 standard errors, standard deviation 0.01 / √3.
    assert abs(float(drawn.mean())) < 4 * 0.01 / 3**0.5 / 4095**0.5
    assert float(drawn.std()) == pytest.approx(0.01 / 3**0.5, rel=0.05)


def test_draws_depend_on_name_and_seed_alone(tmp_path: Path) -> None:
    """Neither on the rest of the file, nor on which elements are dead, nor on the type's place."""

    def drawn(folder: str, state: dict[str, th.Tensor], seed: int = 0) -> th.Tensor:
        (tmp_path / folder).mkdir()
        source = write_sb3(tmp_path / folder / "m.zip", state)
        fix(source, options=RepairOptions(seed=seed))
        return state_dict(source.with_name("m_FIXED.zip"))["b.bias"]

    layer = {"b.weight": th.ones(16, 2), "b.bias": th.zeros(16)}
    alone = drawn("alone", layer)
    amid = drawn("amid", {"a.weight": th.ones(4, 2), "a.bias": th.zeros(4), **layer})
    half = th.zeros(16)
    half[:8] = 3.0
    partly = drawn("partly", {**layer, "b.bias": half})
    assert th.equal(alone, amid)
    assert th.equal(partly[8:], alone[8:])
    assert not (drawn("seed", layer, seed=1) == alone).any()


def test_two_names_get_different_draws(tmp_path: Path) -> None:
    state = {
        f"{n}.{p}": t for n in "ab" for p, t in (("weight", th.ones(9, 2)), ("bias", th.zeros(9)))
    }
    fix(write_sb3(tmp_path / "m.zip", state))
    after = state_dict(tmp_path / "m_FIXED.zip")
    assert not (after["a.bias"] == after["b.bias"]).any()


def test_only_repairs_what_matches(tmp_path: Path) -> None:
    state = {
        f"{n}.{p}": t for n in "ab" for p, t in (("weight", th.ones(9, 2)), ("bias", th.zeros(9)))
    }
    result = fix(write_sb3(tmp_path / "m.zip", state), options=RepairOptions(only="b.*"))
    after = state_dict(tmp_path / "m_FIXED.zip")
    assert not after["a.bias"].any()
    assert after["b.bias"].all()
    assert [left.name for left in result.plan.left] == ["a.bias"]


def test_aliases_are_repaired_once_and_stay_aliases(tmp_path: Path) -> None:
    shared = th.zeros(6)
    weight = th.ones(6, 2)
    state = {}
    for extractor in ("features_extractor", "pi_features_extractor", "vf_features_extractor"):
        state |= {f"{extractor}.0.weight": weight, f"{extractor}.0.bias": shared}
    result = fix(write_sb3(tmp_path / "m.zip", state))
    assert [repair.name for repair in result.plan.repaired] == ["features_extractor.0.bias"]
    after = state_dict(tmp_path / "m_FIXED.zip")
    biases = [tensor for name, tensor in after.items() if name.endswith("bias")]
    assert len({tensor.data_ptr() for tensor in biases}) == 1
    assert biases[0].all()


def test_tensors_that_share_a_storage_are_repaired_at_their_own_place(tmp_path: Path) -> None:
    """Slices, columns and reversed layouts of one storage: only the elements named are written."""
    block = th.zeros(4, 6)
    block[:, 3] = 7.0
    state = {
        "a.weight": th.ones(4, 2),
        "a.bias": block[:, 1],  # a column: stride 6
        "b.weight": th.ones(4, 2),
        "b.bias": block[:, 3],
        "c.weight": th.ones(6, 2),
        "c.bias": block[3],  # a row; it crosses both columns
    }
    fix(write_sb3(tmp_path / "m.zip", state), options=RepairOptions(only="a.bias"))
    after = state_dict(tmp_path / "m_FIXED.zip")
    assert after["a.bias"].all()
    assert bool((after["b.bias"] == 7.0).all())
    expected = th.zeros(6)
    expected[1], expected[3] = after["a.bias"][3], 7.0
    assert th.equal(after["c.bias"], expected)


def test_untouched_are_weights_buffers_and_whole_numbers(tmp_path: Path) -> None:
    state = {
        "fc.weight": th.zeros(4, 4),
        "fc.bias": th.zeros(4),
        "norm.weight": th.ones(4),
        "norm.bias": th.zeros(4),
        "norm.running_mean": th.zeros(4),
        "count.bias": th.zeros(4, dtype=th.int64),
        "log_std": th.zeros(4),
        "empty.bias": th.zeros(0),
    }
    fix(write_sb3(tmp_path / "m.zip", state))
    after = state_dict(tmp_path / "m_FIXED.zip")
    for name, tensor in state.items():
        assert truth.same(after[name], tensor) == (name != "fc.bias"), name


# -- the record --------------------------------------------------------------------------------


def test_record_says_what_was_done(broken: Path, tmp_path: Path) -> None:
    import sacdoctor

    output = tmp_path / "out.zip"
    fix(broken, output=output, options=RepairOptions(seed=5))
    with zipfile.ZipFile(output) as archive:
        (note,) = json.loads(archive.read(truth.RECORD))["repairs"]
    assert (note["sacdoctor"], note["seed"]) == (sacdoctor.__version__, 5)
    before = state_dict(broken)
    assert {r["name"]: r["elements"] for r in note["repaired"]} == {
        name: int(truth.is_zero(before[name]).sum()) for name in truth.dead_biases(before)
    }


def test_a_second_repair_adds_to_the_record(tmp_path: Path) -> None:
    state = {
        f"{n}.{p}": t for n in "ab" for p, t in (("weight", th.ones(9, 2)), ("bias", th.zeros(9)))
    }
    source = write_sb3(tmp_path / "m.zip", state)
    fix(source, options=RepairOptions(only="a.*"))
    fix(tmp_path / "m_FIXED.zip")
    with zipfile.ZipFile(tmp_path / "m_FIXED_FIXED.zip") as archive:
        notes = json.loads(archive.read(truth.RECORD))["repairs"]
        assert archive.namelist().count(truth.RECORD) == 1
        assert archive.testzip() is None
    assert [[r["name"] for r in note["repaired"]] for note in notes] == [["a.bias"], ["b.bias"]]


def test_sb3_ignores_the_record(patients: Patients, tmp_path: Path) -> None:
    from stable_baselines3.common.save_util import load_from_zip_file

    source, output = patients.hurt("SAC", "*bias*", index=ODD), tmp_path / "out.zip"
    fix(source, output=output)
    with zipfile.ZipFile(output) as archive:
        assert truth.RECORD in archive.namelist()
    (data, params, variables), (old_data, old_params, old_variables) = (
        load_from_zip_file(path, device="cpu") for path in (output, source)
    )
    assert set(data) == set(old_data)
    assert set(params) == set(old_params)
    assert set(variables) == set(old_variables)
