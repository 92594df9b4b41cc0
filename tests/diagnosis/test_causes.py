"""One cause per bias, from evidence; where the evidence is missing, none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

from sacdoctor import LayerReport
from tests.diagnosis.handmade import (
    ARS,
    DQN,
    PPO,
    SAC,
    TRPO,
    Moments,
    adam,
    layer,
    report,
    rmsprop,
    sgd,
)

DEAD, ALIVE = th.zeros(4), th.full((4,), 0.5)
HALF = th.tensor([0.0, 0.0, 0.5, 0.5])
WEIGHT, OTHER = th.full((4, 3), 0.5), th.full((2, 4), 0.5)
NAN, INF = float("nan"), float("inf")

NET = {"net.weight": WEIGHT, "net.bias": DEAD}
HEAD = {"head.weight": OTHER, "head.bias": th.full((2,), 0.5)}
"""A layer in trouble, and one of other shapes in order."""
HEAD_MOMENTS = [OTHER, th.ones(2)]


def judged(
    folder: Path,
    moments: Moments,
    settings: Mapping[str, Any] = PPO,
    bias: th.Tensor = DEAD,
    optimizer: Any = adam,
    **options: Any,
) -> LayerReport:
    """What is said of `net.bias`; the moments are those of net and head, in this order."""
    policy = {**NET, "net.bias": bias, **HEAD}
    state = {"policy.optimizer": optimizer(moments, **options)}
    return layer(report(folder, policy, settings, state), "net.bias")


def cause(folder: Path, *arguments: Any, **keywords: Any) -> str | None:
    return judged(folder, *arguments, **keywords).cause


# -- untrained ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counters", "untrained"),
    [
        ({}, True),
        ({"num_timesteps": 0}, True),
        ({"num_timesteps": 1}, False),
        ({"_n_updates": 0, "num_timesteps": 2048}, True),
        ({"_n_updates": 1, "num_timesteps": 2048}, False),
        ({"_n_updates": 1}, False),
        ({"num_timesteps": 100, "learning_starts": 100}, True),
        ({"num_timesteps": 101, "learning_starts": 100}, False),
        ({"_n_updates": 0, "num_timesteps": 101, "learning_starts": 100}, True),
        ({"_n_updates": 7, "num_timesteps": 100, "learning_starts": 100}, True),
        ({"_n_updates": 7, "num_timesteps": 101, "learning_starts": 100}, False),
    ],
    ids=str,
)
def test_untrained_needs_counters_that_agree(
    tmp_path: Path, counters: dict[str, int], untrained: bool
) -> None:
    bias = judged(tmp_path, [None] * 4, {"clip_range": 0.2, **counters})
    assert bias.cause == ("untrained" if untrained else "unknown")
    assert bias.severity == ("warning" if untrained else "critical")


def test_untrained_needs_optimizers_without_any_state(tmp_path: Path) -> None:
    assert cause(tmp_path, [None, None, *HEAD_MOMENTS], {"_n_updates": 0}) == "no-gradient"


def test_untrained_comes_before_not_in_optimizer(tmp_path: Path) -> None:
    """Two entries for four tensors: what was never trained cannot show who would be."""
    bias = judged(tmp_path, [None, None], {"_n_updates": 0})
    assert (bias.cause, bias.severity) == ("untrained", "warning")


def test_untrained_never_is_worse_than_a_warning(tmp_path: Path) -> None:
    state = {"policy.optimizer": adam([None] * 4)}
    found = report(tmp_path, {**NET, **HEAD}, {"_n_updates": 0}, state)
    assert found.status == "warning"
    assert found.summary is not None
    assert (found.summary.critical, found.summary.warning) == (0, 1)


# -- in no optimizer ---------------------------------------------------------------------------


def test_bias_without_an_entry_beside_others_that_have_one(tmp_path: Path) -> None:
    bias = judged(tmp_path, HEAD_MOMENTS)
    assert (bias.cause, bias.severity) == ("not-in-optimizer", "critical")
    assert bias.evidence is not None
    assert "none of the 2 entries of policy.optimizer is its own" in bias.evidence
    assert "2 weights and biases have none" in bias.evidence


def test_evidence_mentions_a_weight_that_never_moved(tmp_path: Path) -> None:
    policy = {"net.weight": th.eye(4)[:, :3], "net.bias": DEAD, **HEAD}
    state = {"policy.optimizer": adam(HEAD_MOMENTS)}
    evidence = layer(report(tmp_path, policy, PPO, state), "net.bias").evidence
    assert evidence is not None
    assert "still exactly orthogonal" in evidence


def test_evidence_does_not_count_the_entry_of_the_entropy_coefficient(tmp_path: Path) -> None:
    policy = {f"actor.{name}": tensor for name, tensor in {**NET, **HEAD}.items()}
    state = {
        "actor.optimizer": adam(HEAD_MOMENTS),
        "ent_coef_optimizer": adam([th.ones(1)]),
    }
    evidence = layer(report(tmp_path, policy, SAC, state), "actor.net.bias").evidence
    assert evidence is not None
    assert "none of the 2 entries of actor.optimizer is" in evidence


# -- gradients and moments ---------------------------------------------------------------------


def test_entry_without_moments_beside_others_with_some(tmp_path: Path) -> None:
    bias = judged(tmp_path, [None, None, *HEAD_MOMENTS])
    assert bias.cause == "no-gradient"
    assert bias.evidence is not None
    assert "2 of 4 entries have some" in bias.evidence


@pytest.mark.parametrize(
    ("bias", "moment", "expected"),
    [
        (DEAD, th.zeros(4), "zero-gradient"),
        (DEAD, th.ones(4), "reset-after-training"),
        (DEAD, th.full((4,), 1e-38), "reset-after-training"),
        # What counts is the moment where the bias is zero; of several elements, the majority.
        (HALF, th.tensor([0.0, 0.0, 1.0, 1.0]), "zero-gradient"),
        (HALF, th.tensor([1.0, 1.0, 0.0, 0.0]), "reset-after-training"),
        (DEAD, th.tensor([1.0, 0.0, 0.0, 0.0]), "zero-gradient"),
        (DEAD, th.tensor([1.0, 1.0, 0.0, 0.0]), "reset-after-training"),
        (HALF, th.tensor([1.0, 0.0, 1.0, 1.0]), "reset-after-training"),
        (DEAD, th.tensor([NAN, 0.0, 0.0, 0.0]), "unknown"),
        (DEAD, th.full((4,), INF), "unknown"),
        (HALF, th.tensor([0.0, 0.0, NAN, INF]), "zero-gradient"),
    ],
    ids=str,
)
@pytest.mark.parametrize("optimizer", [adam, rmsprop, sgd])
def test_moments_tell_a_zero_gradient_from_a_reset(
    tmp_path: Path, optimizer: Any, bias: th.Tensor, moment: th.Tensor, expected: str
) -> None:
    moments = [WEIGHT, moment, *HEAD_MOMENTS]
    assert cause(tmp_path, moments, bias=bias, optimizer=optimizer) == expected


def test_evidence_counts_the_elements(tmp_path: Path) -> None:
    moments = [WEIGHT, th.tensor([2.0, 3.0, 0.0, 5.0]), *HEAD_MOMENTS]
    evidence = judged(tmp_path, moments).evidence
    assert evidence is not None
    assert "exp_avg_sq in policy.optimizer is not 0 in 3 of the 4 elements" in evidence


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_momentum_may_be_negative(tmp_path: Path, sign: float) -> None:
    moments = [WEIGHT, th.full((4,), sign), *HEAD_MOMENTS]
    assert cause(tmp_path, moments, optimizer=sgd) == "reset-after-training"


@pytest.mark.parametrize(("alpha", "step"), [(0.99, 1), (0.99, 640), (0.9, 40), (0.999, 5000)])
def test_moment_that_decayed_from_one_hides_whether_a_gradient_came(
    tmp_path: Path, alpha: float, step: int
) -> None:
    """As float32 rounds it, multiplication by multiplication: SB3's RMSpropTFLike."""
    start = th.ones(4)
    for _ in range(step):
        start.mul_(alpha)
    moments = [WEIGHT, start, *HEAD_MOMENTS]
    assert cause(tmp_path, moments, optimizer=rmsprop, alpha=alpha, step=step) == "unknown"
    moments = [WEIGHT, 1.1 * start, *HEAD_MOMENTS]
    assert (
        cause(tmp_path, moments, optimizer=rmsprop, alpha=alpha, step=step)
        == "reset-after-training"
    )


def test_a_moment_decays_by_the_options_of_its_own_group(tmp_path: Path) -> None:
    """SB3's RMSpropTFLike, run live over two groups; the first has another α."""
    head, net = nn.Linear(4, 2), nn.Linear(3, 4)
    groups = [
        {"params": [*head.parameters()], "alpha": 0.5},
        {"params": [*net.parameters()], "alpha": 0.99},
    ]
    optimizer = RMSpropTFLike(groups)
    for _ in range(20):
        for parameter in (*head.parameters(), net.weight):
            parameter.grad = th.ones_like(parameter)
        net.bias.grad = th.zeros_like(net.bias)
        optimizer.step()
    nn.init.zeros_(net.bias)
    policy = {f"head.{n}": t for n, t in head.state_dict().items()}
    policy |= {f"net.{n}": t for n, t in net.state_dict().items()}
    found = report(tmp_path, policy, PPO, {"policy.optimizer": optimizer.state_dict()})
    bias = layer(found, "net.bias")
    assert bias.cause == "unknown"
    assert bias.evidence is not None and "started at 1 (RMSpropTFLike)" in bias.evidence


def test_a_step_that_is_no_single_number_stops_nothing(tmp_path: Path) -> None:
    state = rmsprop([WEIGHT, th.zeros(4), *HEAD_MOMENTS])
    for kept in state["state"].values():
        kept["step"] = th.ones(2)
    found = report(tmp_path, {**NET, **HEAD}, PPO, {"policy.optimizer": state})
    assert found.error is None
    assert layer(found, "net.bias").cause == "zero-gradient"


@pytest.mark.parametrize(("scale", "expected"), [(1.0, "unknown"), (9.0, "reset-after-training")])
@pytest.mark.parametrize("start", [nn.init.orthogonal_, None], ids=["orthogonal", "uniform"])
def test_rate_of_zero_proves_a_reset_only_where_a_weight_shows_that_it_was_another(
    tmp_path: Path, start: Any, scale: float, expected: str
) -> None:
    """It is where schedules end, and what a run that never stepped has: then zeros are initial."""
    th.manual_seed(0)
    net = nn.Linear(5, 4)
    nn.init.zeros_(net.bias)
    if start is not None:
        start(net.weight)
    with th.no_grad():
        net.weight[0, 0] += scale - 1.0
    moments = [th.ones(4, 5), th.ones(4)]
    state = {"policy.optimizer": adam(moments, lr=0.0)}
    found = report(tmp_path, {f"net.{n}": t for n, t in net.state_dict().items()}, PPO, state)
    assert layer(found, "net.bias").cause == expected


# -- what the file does not prove --------------------------------------------------------------


def test_without_optimizers_nothing_is_known(tmp_path: Path) -> None:
    bias = layer(report(tmp_path, {**NET, **HEAD}), "net.bias")
    assert (bias.cause, bias.severity) == ("unknown", "critical")
    assert bias.evidence == "the file holds no optimizer state"


def test_optimizer_of_the_entropy_coefficient_alone_is_as_good_as_none(tmp_path: Path) -> None:
    state = {"ent_coef_optimizer": adam([None])}
    found = report(tmp_path, {**NET, **HEAD}, {**SAC, "_n_updates": 0}, state)
    assert layer(found, "net.bias").cause == "unknown"


def test_sgd_without_momentum_keeps_nothing_that_would_tell(tmp_path: Path) -> None:
    bias = judged(tmp_path, [None] * 4, optimizer=sgd)
    assert bias.cause == "unknown"
    assert bias.evidence is not None
    assert "SGD without momentum" in bias.evidence


@pytest.mark.parametrize("settings", [TRPO, ARS], ids=["TRPO", "ARS"])
@pytest.mark.parametrize(
    "moments",
    [HEAD_MOMENTS, [None, None, *HEAD_MOMENTS], [None, None]],
    ids=["no-entry", "no-moments", "no-moments-at-all"],
)
def test_policies_that_are_updated_without_their_optimizer(
    tmp_path: Path, settings: dict[str, Any], moments: Moments
) -> None:
    assert cause(tmp_path, moments, settings) == "unknown"


def test_trpos_value_function_is_its_optimizers(tmp_path: Path) -> None:
    moments = [WEIGHT, th.ones(4), *HEAD_MOMENTS]
    assert cause(tmp_path, moments, TRPO) == "reset-after-training"


def test_twin_of_a_missing_layer_is_unknown(tmp_path: Path) -> None:
    policy = {**NET, "twin.weight": WEIGHT.clone(), "twin.bias": DEAD.clone()}
    state = {"policy.optimizer": adam([WEIGHT, th.ones(4)])}
    found = report(tmp_path, policy, PPO, state)
    assert [bias.cause for bias in found.biases] == ["unknown", "unknown"]


def test_entries_that_fit_nowhere_are_unknown(tmp_path: Path) -> None:
    assert cause(tmp_path, [th.ones(7, 7)]) == "unknown"


# -- normalisation layers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "moments",
    [
        [None] * 4,
        [th.zeros(4), th.zeros(4), *HEAD_MOMENTS],
        [th.ones(4), th.ones(4), *HEAD_MOMENTS],
        HEAD_MOMENTS,
    ],
    ids=["untrained", "zero-gradient", "reset", "no-entry"],
)
def test_norm_at_its_start_comes_before_every_other_cause(tmp_path: Path, moments: Moments) -> None:
    policy = {"norm.weight": th.ones(4), "norm.bias": DEAD, **HEAD}
    settings = {"_n_updates": 0} if moments[-1] is None else PPO
    found = report(tmp_path, policy, settings, {"policy.optimizer": adam(moments)})
    bias = layer(found, "norm.bias")
    assert (bias.cause, bias.severity) == ("normalisation-init", "notice")
    assert not [f for f in found.findings if f.rule in ("SD101", "SD102", "SD201", "SD204")]


@pytest.mark.parametrize(
    ("weight", "bias"), [(th.tensor([1.0, 1.0, 1.0, 0.9]), DEAD), (th.ones(4), HALF)]
)
def test_norm_that_has_moved_is_judged_like_any_layer(
    tmp_path: Path, weight: th.Tensor, bias: th.Tensor
) -> None:
    policy = {"norm.weight": weight, "norm.bias": bias, **HEAD}
    state = {"policy.optimizer": adam([th.ones(4), th.ones(4), *HEAD_MOMENTS])}
    found = layer(report(tmp_path, policy, PPO, state), "norm.bias")
    assert (found.cause, found.severity) == ("reset-after-training", "critical")


# -- target networks ---------------------------------------------------------------------------


def target(
    folder: Path, online: th.Tensor, delayed: th.Tensor, moment: th.Tensor | None
) -> LayerReport:
    policy = {
        "q_net.weight": WEIGHT,
        "q_net.bias": online,
        "q_net.head.weight": OTHER,
        "q_net_target.weight": WEIGHT.clone(),
        "q_net_target.bias": delayed,
        "q_net_target.head.weight": OTHER.clone(),
    }
    state = {"policy.optimizer": adam([None if moment is None else WEIGHT, moment, OTHER])}
    return layer(report(folder, policy, DQN, state), "q_net_target.bias")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (th.zeros(4), "zero-gradient"),
        (th.ones(4), "reset-after-training"),
        (None, "no-gradient"),
    ],
    ids=str,
)
def test_target_takes_the_cause_of_its_dead_counterpart(
    tmp_path: Path, moment: th.Tensor | None, expected: str
) -> None:
    bias = target(tmp_path, DEAD, DEAD.clone(), moment)
    assert bias.cause == expected
    assert bias.evidence is not None
    assert bias.evidence.startswith("as its online counterpart q_net.bias: ")


def test_target_of_a_missing_layer_is_as_missing(tmp_path: Path) -> None:
    policy = {"q_net.net.weight": WEIGHT, "q_net.net.bias": DEAD}
    policy |= {f"q_net.{name}": tensor for name, tensor in HEAD.items()}
    policy |= {n.replace("q_net", "q_net_target"): t.clone() for n, t in policy.items()}
    found = report(tmp_path, policy, DQN, {"policy.optimizer": adam(HEAD_MOMENTS)})
    assert layer(found, "q_net.net.bias").cause == "not-in-optimizer"
    assert layer(found, "q_net_target.net.bias").cause == "not-in-optimizer"


def test_target_alone_at_zero_is_out_of_sync(tmp_path: Path) -> None:
    bias = target(tmp_path, ALIVE, DEAD, th.ones(4))
    assert bias.cause == "target-out-of-sync"
    assert bias.evidence is not None
    assert "q_net.bias is not zero in 4 of the 4 elements" in bias.evidence


@pytest.mark.parametrize(
    ("shared", "expected"),
    [(0, "target-out-of-sync"), (1, "target-out-of-sync"), (2, "zero-gradient")],
)
def test_of_zeros_that_are_partly_shared_the_majority_counts(
    tmp_path: Path, shared: int, expected: str
) -> None:
    online = ALIVE.clone()
    online[:shared] = 0.0
    moment = th.ones(4)
    moment[:shared] = 0.0
    assert target(tmp_path, online, DEAD, moment).cause == expected


def test_target_out_of_sync_needs_no_optimizer(tmp_path: Path) -> None:
    policy = {"q_net.bias": ALIVE, "q_net_target.bias": DEAD}
    assert layer(report(tmp_path, policy, DQN), "q_net_target.bias").cause == "target-out-of-sync"


def test_target_of_another_shape_is_unknown(tmp_path: Path) -> None:
    policy = {"q_net.bias": th.ones(5), "q_net_target.bias": DEAD}
    assert layer(report(tmp_path, policy, DQN), "q_net_target.bias").cause == "unknown"


def test_target_without_a_counterpart_is_unknown(tmp_path: Path) -> None:
    policy = {**{f"q_net.{n}": t for n, t in HEAD.items()}, "q_net_target.net.bias": DEAD}
    found = report(tmp_path, policy, DQN, {"policy.optimizer": adam(HEAD_MOMENTS)})
    assert layer(found, "q_net_target.net.bias").cause == "unknown"


def test_target_that_is_its_own_counterpart_under_a_second_name_is_unknown(tmp_path: Path) -> None:
    policy = {"q_net_target.bias": DEAD, "q_net.bias": DEAD}
    found = report(tmp_path, policy, DQN, {"policy.optimizer": adam([th.ones(4)])})
    assert layer(found, "q_net_target.bias").cause == "unknown"


# -- when a cause is due -----------------------------------------------------------------------


@pytest.mark.parametrize(("zeros", "due"), [(0, False), (10, False), (11, True), (100, True)])
def test_cause_is_given_from_warning_on(tmp_path: Path, zeros: int, due: bool) -> None:
    bias = th.ones(100)
    bias[:zeros] = 0.0
    found = layer(report(tmp_path, {"net.bias": bias}), "net.bias")
    assert (found.cause is not None) == due
    assert (found.evidence is not None) == due


def test_second_name_of_a_bias_has_no_cause_of_its_own(tmp_path: Path) -> None:
    found = report(tmp_path, {"net.bias": DEAD, "again.bias": DEAD})
    assert (layer(found, "net.bias").cause, layer(found, "again.bias").cause) == ("unknown", None)
