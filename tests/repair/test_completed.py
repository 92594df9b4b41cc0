"""What else a completion does with a file: groups, frozen parameters, other repairs, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import stable_baselines3 as sb3
import torch as th
from sb3_contrib import RecurrentPPO
from torch import nn

from fixtures.faulty_policies import (
    GroupedActorCriticPolicy,
    GroupPerModulePolicy,
    LateActorCriticPolicy,
    Named,
)
from fixtures.faulty_training import train
from fixtures.make import CHECKPOINTS, one_thread, trading_env
from fixtures.policies import (
    BrokenTwoHeadSACPolicy,
    TwoHeadV11Sigmoid,
    TwoHeadV11SigmoidFixed,
    two_head_kwargs,
)
from sacdoctor import scan
from sacdoctor.repair import RepairOptions, fix
from sacdoctor.training import create_zero_prevention_system
from tests.archives import members_of, saved, write_sb3, zip_of
from tests.conftest import Run
from tests.diagnosis.handmade import DQN, PPO, SAC, TRPO, adam, rmsprop, sgd
from tests.repair import truth
from tests.repair.completing import (
    assert_same_moments,
    assert_same_values,
    corrected,
    held,
    load_into,
    moments,
    parameters,
    refused,
    remedy,
)

POLICY = nn.ModuleDict(
    {"net": nn.Linear(3, 4), "late": nn.Linear(4, 2), "out": nn.Linear(2, 5)}
).state_dict()
"""In which `late` was made too late, but stands between the others."""
SHAPES = [tuple(tensor.shape) for tensor in POLICY.values()]
TRAINED = [0, 1, 4, 5]
"""The places of the trained ones among the parameters."""


def moment(place: int) -> th.Tensor:
    """Second moments of the shape at this place, all different."""
    shape = SHAPES[place]
    return th.arange(1.0, 1.0 + th.Size(shape).numel()).reshape(shape) + 100 * place


def handmade(folder: Path, optimizer: Any = None, settings: Any = None, **policy: Any) -> Path:
    state = adam([moment(place) for place in TRAINED]) if optimizer is None else optimizer
    return write_sb3(
        folder / "m.zip", {**POLICY, **policy}, settings or PPO, {"policy.optimizer": state}
    )


def optimizer_of(path: Path, name: str = "policy.optimizer") -> Any:
    return truth.member(path, f"{name}.pth")


def complete(path: Path, **options: Any) -> Any:
    """The optimizer of the completed copy, as torch reads it."""
    fix(path, options=RepairOptions(complete_optimizer=True, **options))
    return optimizer_of(path.with_name("m_FIXED.zip"))


# -- what stays ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        adam([moment(place) for place in TRAINED]),
        rmsprop([moment(place) for place in TRAINED]),
        sgd([moment(place) for place in TRAINED]),
        adam([moment(0), None, moment(4), moment(5)]),
    ],
    ids=["adam", "rmsprop-whose-step-is-an-int", "sgd", "an-entry-without-moments"],
)
def test_every_moment_and_step_stays_with_its_parameter(tmp_path: Path, state: Any) -> None:
    after = complete(handmade(tmp_path, state))
    assert [g["params"] for g in after["param_groups"]] == [[0, 1, 2, 3, 4, 5]]
    places = dict(enumerate(TRAINED))
    assert after["state"].keys() == {places[number] for number in state["state"]}
    for number, kept in state["state"].items():
        assert_same_values(kept, after["state"][places[number]], str(number))
    (before,) = state["param_groups"]
    (group,) = after["param_groups"]
    assert {**group, "params": None} == {**before, "params": None}


@pytest.mark.parametrize("dtype", [th.bfloat16, th.float16, th.float64], ids=str)
def test_moments_of_any_type_are_copied_by_their_bits(tmp_path: Path, dtype: th.dtype) -> None:
    state = adam([moment(place).to(dtype) for place in TRAINED])
    state["state"][0]["exp_avg"] = th.full((4, 3), float("nan"), dtype=dtype)
    state["state"][2]["exp_avg_sq"] = state["state"][2]["exp_avg_sq"].T.clone().T  # other strides
    after = complete(handmade(tmp_path, state))
    for number, place in enumerate(TRAINED):
        for key, value in state["state"][number].items():
            assert truth.same(value, after["state"][place][key])


def test_rates_and_options_that_are_tensors_stay_so(tmp_path: Path) -> None:
    state = adam([moment(place) for place in TRAINED])
    state["param_groups"][0] |= {"lr": th.tensor(3e-4), "capturable": True, "foreach": None}
    (group,) = complete(handmade(tmp_path, state))["param_groups"]
    assert truth.same(group["lr"], th.tensor(3e-4))
    assert (group["capturable"], group["foreach"], group["betas"]) == (True, None, (0.9, 0.999))


def test_all_other_members_stay_byte_for_byte(tmp_path: Path) -> None:
    path = handmade(tmp_path)
    fix(path, options=RepairOptions(complete_optimizer=True))
    before, after = (members_of(p.read_bytes()) for p in (path, tmp_path / "m_FIXED.zip"))
    assert before.keys() == after.keys() - {truth.RECORD}
    assert {n for n in before if before[n] != after[n]} == {"policy.optimizer.pth"}
    truth.assert_sound(tmp_path / "m_FIXED.zip")


@pytest.mark.slow
def test_the_same_file_gives_the_same_bytes(tmp_path: Path, shell: Run) -> None:
    path = CHECKPOINTS / "two_head_broken.zip"
    outputs = [tmp_path / "one.zip", tmp_path / "other.zip"]
    for output in outputs:  # in processes of their own
        assert shell("fix", path, "--complete-optimizer", "--output", output).code == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_an_optimizer_in_the_format_before_pytorch_1_6(tmp_path: Path) -> None:
    path = handmade(tmp_path)
    state = adam([moment(place) for place in TRAINED])
    old = saved(state, legacy=True)
    path.write_bytes(zip_of({**members_of(path.read_bytes()), "policy.optimizer.pth": old}))
    after = complete(path)
    assert after["state"].keys() == set(TRAINED)
    assert truth.same(after["state"][4]["exp_avg_sq"], moment(4))


# -- together with the other options ---------------------------------------------------------------


def test_the_rate_is_corrected_in_the_completed_optimizer_too(tmp_path: Path) -> None:
    (group,) = complete(handmade(tmp_path), learning_rate=1e-4)["param_groups"]
    assert group["lr"] == 1e-4


@pytest.mark.parametrize("keep", [False, True])
def test_moments_of_a_repaired_bias_are_cleared_at_their_new_number(
    tmp_path: Path, keep: bool
) -> None:
    dead = {"out.bias": th.zeros(5), "net.bias": th.tensor([0.0, 0.0, 0.5, 0.5])}
    after = complete(handmade(tmp_path, **dead), keep_optimizer=keep)["state"]
    out, net = after[5], after[1]
    if keep:
        assert truth.same(out["exp_avg_sq"], moment(5))
        assert truth.same(net["exp_avg_sq"], moment(1))
        return
    assert not out["exp_avg_sq"].any()
    assert out["step"] == 0
    assert net["exp_avg_sq"].tolist() == [0.0, 0.0, *moment(1)[2:].tolist()]
    assert net["step"] == 100
    assert truth.same(after[4]["exp_avg_sq"], moment(4))


def test_only_limits_the_repair_of_biases_not_the_entries(tmp_path: Path) -> None:
    dead = {"out.bias": th.zeros(5), "net.bias": th.zeros(4)}
    path = handmade(tmp_path, **dead)
    result = fix(path, options=RepairOptions(complete_optimizer=True, only="out.*"))
    assert [repair.name for repair in result.plan.repaired] == ["out.bias"]
    assert len(optimizer_of(tmp_path / "m_FIXED.zip")["param_groups"][0]["params"]) == 6


def test_a_plan_does_not_show_the_whole_optimizer(tmp_path: Path) -> None:
    plan = fix(
        handmade(tmp_path), options=RepairOptions(complete_optimizer=True), dry_run=True
    ).plan
    assert "Completion(optimizer='policy.optimizer', entries_before=4, added=" in repr(plan)
    assert "Tensor(" not in repr(plan)


def test_a_dry_run_writes_nothing_and_says_all(tmp_path: Path, run: Run) -> None:
    path = handmade(tmp_path)
    done = run("fix", path, "--complete-optimizer", "--dry-run")
    assert (done.code, list(tmp_path.iterdir())) == (0, [path])
    assert "policy.optimizer: 4 entries become 6; 2 parameters join" in done.out
    assert "Would repair 1 optimizer." in done.out


def test_pickled_schedules_are_stripped_as_well(tmp_path: Path) -> None:
    path = CHECKPOINTS / "two_head_broken.zip"
    output = tmp_path / "out.zip"
    options = RepairOptions(complete_optimizer=True, strip_code=True)
    fix(path, output=output, options=options)
    assert len(optimizer_of(output)["param_groups"][0]["params"]) == 132


def test_a_completed_copy_is_complete(tmp_path: Path) -> None:
    complete(handmade(tmp_path))
    again = tmp_path / "m_FIXED.zip"
    result = fix(again, options=RepairOptions(complete_optimizer=True))
    assert (result.plan.is_empty, result.output) == (True, None)
    assert "every parameter has its entry" in result.plan.left[0].reason


# -- what people and scripts are told --------------------------------------------------------------


def test_json_and_the_record_name_what_joined(tmp_path: Path, run: Run) -> None:
    path = handmade(tmp_path)
    document = json.loads(run("fix", path, "--complete-optimizer", "--format", "json").out)
    added = ["late.weight", "late.bias"]
    assert document["completed"] == [
        {"file": "policy.optimizer.pth", "entries_before": 4, "entries": 6, "added": added}
    ]
    output = tmp_path / "m_FIXED.zip"
    assert document["loads_with"] == f'PPO.load("{output}", env=env)'
    (note,) = json.loads(members_of(output.read_bytes())[truth.RECORD])["repairs"]
    assert note["completed"] == [
        {"file": "policy.optimizer.pth", "entries_before": 4, "added": added}
    ]


def test_what_has_an_entry_now_is_not_said_to_die_again(tmp_path: Path, run: Run) -> None:
    path = handmade(tmp_path, **{"late.bias": th.zeros(2)})
    assert "This will not last" in run("fix", path, "--output", tmp_path / "a.zip").out
    done = run("fix", path, "--complete-optimizer", "--output", tmp_path / "b.zip")
    assert "This will not last" not in done.out
    assert "The copy loads only into a policy that makes its optimizer last" in done.out


def test_sd202_leads_through_it(tmp_path: Path) -> None:
    lines = remedy(handmade(tmp_path))
    assert lines[-2:] == [
        "    sacdoctor fix MODEL.zip --complete-optimizer",
        '    PPO.load("MODEL_FIXED.zip", env=env)',
    ]


def test_sd202_asks_for_what_the_file_does_not_show(tmp_path: Path) -> None:
    path = handmade(tmp_path, **{"late.table": th.ones(7)})
    assert "    sacdoctor fix MODEL.zip --complete-optimizer --buffer 'late.table'" in remedy(path)


def test_sd202_does_not_promise_what_would_be_refused(tmp_path: Path) -> None:
    state = adam([moment(place) for place in TRAINED])
    state["slow_weights"] = [1, 2]
    assert "complete" not in "\n".join(remedy(handmade(tmp_path, state)))


def test_sd202_keeps_the_target_network_out_of_dqns_optimizer(tmp_path: Path) -> None:
    policy = {f"{n}.{k}": t for n in ("q_net", "q_net_target") for k, t in POLICY.items()}
    policy |= {name: tensor.clone() for name, tensor in policy.items() if "target" in name}
    state = adam([moment(place) for place in TRAINED])
    path = write_sb3(tmp_path / "m.zip", policy, DQN, {"policy.optimizer": state})
    assert "        self.q_net.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)" in (
        remedy(path)
    )


@pytest.mark.slow
def test_a_class_that_was_pickled_whole_has_to_be_named(tmp_path: Path) -> None:
    class MyPolicy(LateActorCriticPolicy):  # as in a notebook: no module to import it from
        pass

    model = train("PPO", policy=MyPolicy, extractor={"branch": "late"})
    model.save(tmp_path / "m.zip")
    result = fix(tmp_path / "m.zip", options=RepairOptions(complete_optimizer=True))
    assert result.loads_with is not None
    assert result.loads_with.endswith(', custom_objects={"policy_class": MyPolicy})')
    with refused():  # what is in the file is the old class, whatever the notebook holds now
        sb3.PPO.load(tmp_path / "m_FIXED.zip", env=model.get_env(), device="cpu")
    right = corrected(MyPolicy, tmp_path / "m.zip")
    assert len(held(load_into(right, tmp_path / "m_FIXED.zip", model))) == 19


# -- several groups, frozen parameters -------------------------------------------------------------


class LateGrouped(GroupedActorCriticPolicy):
    """Weight decay on weights alone, and a branch that came after the optimizer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.features_extractor.add_late_layers()


class LatePerPart(LateGrouped):
    """The extractor in a group of its own."""

    def groups(self, named: Named) -> Iterator[dict[str, Any]]:
        for own in (True, False):
            of_extractor = [(n, p) for n, p in named if n.startswith("features_extractor") is own]
            yield {"params": [p for _, p in of_extractor], "weight_decay": 0.1 * own}


@pytest.mark.slow
@pytest.mark.parametrize("late", [LateGrouped, LatePerPart])
def test_each_joins_the_group_that_its_like_are_in(tmp_path: Path, late: type) -> None:
    class Right(late):  # type: ignore[misc]
        def __init__(self, observations: Any, actions: Any, lr_schedule: Any, **options: Any):
            super().__init__(observations, actions, lr_schedule, **options)
            groups = list(self.groups(list(self.named_parameters())))
            self.optimizer = self.optimizer_class(groups, lr=lr_schedule(1))

    model = train("PPO", policy=late, extractor={"branch": "late"})
    model.save(tmp_path / "m.zip")
    fix(tmp_path / "m.zip", options=RepairOptions(complete_optimizer=True))
    again = load_into(Right, tmp_path / "m_FIXED.zip", model)
    assert_same_moments(moments(model), moments(again))
    before, after = model.policy.optimizer, again.policy.optimizer
    decay = [group["weight_decay"] for group in before.param_groups]
    assert [group["weight_decay"] for group in after.param_groups] == decay
    again.learn(64, reset_num_timesteps=False)


@pytest.mark.slow
def test_a_frozen_parameter_keeps_an_entry_without_moments(tmp_path: Path) -> None:
    def freeze(model: Any) -> None:
        model.policy.action_net.requires_grad_(False)

    model = train(
        "PPO", policy=LateActorCriticPolicy, extractor={"branch": "late"}, before=[freeze]
    )
    model.save(tmp_path / "m.zip")
    right = corrected(LateActorCriticPolicy, tmp_path / "m.zip")
    fix(tmp_path / "m.zip", options=RepairOptions(complete_optimizer=True))
    again = load_into(right, tmp_path / "m_FIXED.zip", model)
    assert_same_moments(moments(model), moments(again))
    assert not any("action_net" in name for name in moments(again)["policy.optimizer"])
    assert held(again) == parameters(again).keys()


# -- models that were trained with `on_missing_parameters="add"` -----------------------------------


def added_to(policy: type, path: Path) -> Any:
    model = train("PPO", steps=0, policy=policy, extractor={"branch": "late"})
    model.learn(256, callback=create_zero_prevention_system(on_missing_parameters="add", verbose=0))
    model.save(path)
    return model


@pytest.mark.slow
def test_a_model_with_added_parameters_loads_as_it_is(tmp_path: Path) -> None:
    model = added_to(LateActorCriticPolicy, tmp_path / "m.zip")
    assert fix(tmp_path / "m.zip", options=RepairOptions(complete_optimizer=True)).plan.is_empty
    right = _right(LateActorCriticPolicy)
    again = load_into(right, tmp_path / "m.zip", model)
    assert_same_moments(moments(model), moments(again))


def _right(policy: type) -> type:
    class Right(policy):  # type: ignore[misc]
        def __init__(self, observations: Any, actions: Any, lr_schedule: Any, **options: Any):
            super().__init__(observations, actions, lr_schedule, **options)
            self.optimizer = self.optimizer_class(
                self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
            )

    return Right


class LateNamed(LateActorCriticPolicy):
    """Gives its optimizer names, so that what is added stands in a further group."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.optimizer = self.optimizer_class(
            self.named_parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )


@pytest.mark.slow
def test_what_was_added_as_a_further_group_joins_the_first(tmp_path: Path) -> None:
    model = added_to(LateNamed, tmp_path / "m.zip")
    assert len(model.policy.optimizer.param_groups) == 2
    right = _right(LateNamed)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        load_into(right, tmp_path / "m.zip", model)
    result = fix(tmp_path / "m.zip", options=RepairOptions(complete_optimizer=True))
    (completion,) = result.plan.completions
    assert (completion.entries_before, len(completion.names), completion.added) == (19, 19, ())
    again = load_into(right, tmp_path / "m_FIXED.zip", model)
    assert_same_moments(moments(model), moments(again))
    names = [name for name, _ in again.policy.named_parameters()]
    (group,) = optimizer_of(tmp_path / "m_FIXED.zip")["param_groups"]
    assert group["param_names"] == names


@pytest.mark.slow
def test_a_group_that_was_added_by_hand_joins_the_first(tmp_path: Path) -> None:
    with one_thread():
        model = RecurrentPPO(
            TwoHeadV11Sigmoid,
            trading_env("small"),
            n_steps=64,
            batch_size=32,
            n_epochs=1,
            policy_kwargs=two_head_kwargs("small"),
            device="cpu",
        )
        optimizer = model.policy.optimizer
        late = [p for n, p in model.policy.named_parameters() if n not in held(model)]
        options = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
        optimizer.add_param_group({**options, "params": late})
        model.learn(128)
    assert [len(group["params"]) for group in optimizer.param_groups] == [41, 91]
    model.save(tmp_path / "m.zip")
    fix(tmp_path / "m.zip", options=RepairOptions(complete_optimizer=True))
    again = load_into(TwoHeadV11SigmoidFixed, tmp_path / "m_FIXED.zip", model)
    assert len(moments(again)["policy.optimizer"]) == 132
    assert_same_moments(moments(model), moments(again))


@pytest.mark.slow
def test_names_in_the_groups_are_completed_too(tmp_path: Path) -> None:
    model = train("PPO", policy=LateNamed, extractor={"branch": "late"})
    model.save(tmp_path / "m.zip")
    (group,) = complete(tmp_path / "m.zip")["param_groups"]
    assert group["param_names"] == [name for name, _ in model.policy.named_parameters()]


class TwoOnPurpose(GroupedActorCriticPolicy):
    """Two groups that train alike, by module: SB3 gives both the same rate."""

    def groups(self, named: Named) -> Iterator[dict[str, Any]]:
        for own in (True, False):
            yield {"params": [p for n, p in named if n.startswith("features_extractor") is own]}


@pytest.mark.slow
@pytest.mark.parametrize("policy", [TwoOnPurpose, GroupPerModulePolicy])
def test_groups_on_purpose_are_left_alone(tmp_path: Path, policy: type) -> None:
    model = train("PPO", policy=policy, extractor={})
    model.save(tmp_path / "m.zip")
    assert fix(tmp_path / "m.zip", options=RepairOptions(complete_optimizer=True)).plan.is_empty


# -- refusals --------------------------------------------------------------------------------------


def twins(folder: Path) -> Path:
    policy = {f"{n}.{k}": t.clone() for n in "abc" for k, t in nn.Linear(3, 3).state_dict().items()}
    state = adam([th.ones(3, 3), th.ones(3)] * 2)
    return write_sb3(folder / "m.zip", policy, PPO, {"policy.optimizer": state})


def with_more(folder: Path) -> Path:
    state = adam([moment(place) for place in TRAINED])
    state["slow_weights"] = [1, 2]
    return handmade(folder, state)


def with_odd_option(folder: Path) -> Path:
    state = adam([moment(place) for place in TRAINED])
    state["param_groups"][0]["extra"] = {"nested": {"deep": 1}}
    return handmade(folder, state)


def expanded(folder: Path) -> Path:
    state = adam([moment(place) for place in TRAINED])
    state["state"][0]["exp_avg"] = th.zeros(1).expand(4, 3)
    return handmade(folder, state)


def reordered(folder: Path) -> Path:
    return handmade(folder, adam([moment(place) for place in (4, 5, 0, 1)]))


def homeless(folder: Path) -> Path:
    policy = {f"{n}.{k}": t.clone() for n in ("actor", "critic") for k, t in POLICY.items()}
    whole = adam([moment(place) for place in range(6)])
    policy["extra.weight"] = th.ones(9, 9)
    optimizers = {"actor.optimizer": whole, "critic.optimizer": whole}
    return write_sb3(folder / "m.zip", policy, SAC, optimizers)


def bare(folder: Path) -> Path:
    (folder / "m.pth").write_bytes(saved(dict(POLICY)))
    return folder / "m.pth"


REFUSED = {
    "twin layers": (twins, "does not follow from shapes"),
    "no moments": (lambda f: handmade(f, adam([None] * 4)), "does not follow from shapes"),
    "another order": (reordered, "does not follow"),
    "perhaps a buffer": (
        lambda f: handmade(f, **{"late.table": th.ones(7)}),
        "say so with --parameter 'late.table' or --buffer 'late.table'",
    ),
    "only perhaps a buffer": (
        lambda f: handmade(
            f, adam([moment(place) for place in range(6)]), **{"net.table": th.ones(7)}
        ),
        "say so with --parameter 'net.table' or --buffer 'net.table'",
    ),
    "TRPO": (lambda f: handmade(f, settings=TRPO), "TRPO updates its policy without"),
    "no optimizer": (
        lambda f: write_sb3(f / "m.zip", dict(POLICY), PPO),
        "it holds no optimizer state that could be completed",
    ),
    "a bare state dict": (bare, "it holds no optimizer state that could be completed"),
    "more than a state": (with_more, "more than groups, moments and plain options"),
    "an odd option": (with_odd_option, "more than groups, moments and plain options"),
    "moments of a smaller storage": (expanded, "repeat the elements of a smaller storage"),
    "no part of any network": (homeless, "which optimizer is to train extra.weight"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_proven_is_refused_in_one_line(tmp_path: Path, run: Run, why: str) -> None:
    make, says = REFUSED[why]
    path = make(tmp_path)
    before = path.read_bytes()
    done = run("fix", path, "--complete-optimizer")
    assert done.code == 2
    assert str(path) in done.complaint
    assert says in done.complaint
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize(("option", "entries"), [("--buffer", 6), ("--parameter", 7)])
def test_a_person_says_what_the_file_does_not_show(
    tmp_path: Path, run: Run, option: str, entries: int
) -> None:
    path = handmade(tmp_path, **{"late.table": th.ones(7)})
    assert run("fix", path, "--complete-optimizer", option, "late.t*").code == 0
    (group,) = optimizer_of(tmp_path / "m_FIXED.zip")["param_groups"]
    assert len(group["params"]) == entries


def test_buffers_alone_ask_for_nothing(tmp_path: Path, run: Run) -> None:
    done = run("fix", handmade(tmp_path), "--buffer", "late.*")
    assert done.code == 2
    assert "--complete-optimizer" in done.err


def test_a_written_optimizer_that_is_not_as_planned_is_thrown_away(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("sacdoctor.checkpoint.optimizer_file")  # a function has its name, too
    honest = module.torch_tensor

    def forgetful(tensor: Any, edits: Any) -> Any:
        return honest(tensor, edits) * (2 if tensor.shape == (5, 2) else 1)

    monkeypatch.setattr(module, "torch_tensor", forgetful)
    path = handmade(tmp_path)
    done = run("fix", path, "--complete-optimizer")
    assert (done.code, list(tmp_path.iterdir())) == (2, [path])
    assert "did not read back as planned (policy.optimizer.pth)" in done.complaint


# -- the fixtures ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_sac_with_extractors_made_late_to_the_end(tmp_path: Path) -> None:
    path, env = CHECKPOINTS / "sac_two_head_broken.zip", trading_env("small")
    old = sb3.SAC.load(path, env=env, device="cpu")
    right = corrected(BrokenTwoHeadSACPolicy, path)
    with refused():
        load_into(right, path, old)
    result = fix(path, output=tmp_path / "m.zip", options=RepairOptions(complete_optimizer=True))
    counts = [(c.entries_before, len(c.names), len(c.added)) for c in result.plan.completions]
    assert counts == [(10, 22, 12), (14, 26, 12)]
    new = load_into(right, tmp_path / "m.zip", old)
    assert_same_moments(moments(old), moments(new))
    assert held(new) == parameters(new).keys()
    start = parameters(new)
    with one_thread():
        new.learn(160, reset_num_timesteps=False)
    assert all(not th.equal(value, start[name]) for name, value in parameters(new).items())
    assert [f for f in scan(tmp_path / "m.zip").findings if f.rule in ("SD101", "SD202")] == []


def test_a_policy_whose_class_has_another_name_is_given_by_custom_objects(tmp_path: Path) -> None:
    path = CHECKPOINTS / "two_head_broken.zip"
    fix(path, output=tmp_path / "m.zip", options=RepairOptions(complete_optimizer=True))
    model = RecurrentPPO.load(
        tmp_path / "m.zip",
        env=trading_env("small"),
        device="cpu",
        custom_objects={"policy_class": TwoHeadV11SigmoidFixed},
    )
    assert len(model.policy.optimizer.param_groups[0]["params"]) == 132
