"""SD101, SD102 and the rules that follow a cause: which biases, how bad, in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch as th

from sacdoctor import ScanOptions, Thresholds
from tests.diagnosis.handmade import DQN, PPO, adam, finding, report

WEIGHT = th.full((1000, 2), 0.5)


def bias(zeros: int, of: int = 1000) -> th.Tensor:
    made = th.ones(of)
    made[:zeros] = 0.0
    return made


@pytest.mark.parametrize(
    ("zeros", "code"),
    [(0, None), (100, None), (101, "SD102"), (300, "SD102"), (301, "SD101"), (1000, "SD101")],
)
def test_dead_and_partly_dead_begin_above_their_thresholds(
    tmp_path: Path, zeros: int, code: str | None
) -> None:
    found = report(tmp_path, {"net.bias": bias(zeros)})
    assert [f.rule for f in found.findings] == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("zeros", "code"), [(20, None), (21, "SD102"), (400, "SD102"), (401, "SD101")]
)
def test_thresholds_are_the_users(tmp_path: Path, zeros: int, code: str | None) -> None:
    options = ScanOptions(thresholds=Thresholds(warning=2, critical=40))
    found = report(tmp_path, {"net.bias": bias(zeros)}, options=options)
    assert [f.rule for f in found.findings] == ([] if code is None else [code])
    if code is not None:
        limit = "40" if code == "SD101" else "2"
        assert f"more than {limit} % zero" in found.findings[0].message


def test_one_finding_counts_all_of_them(tmp_path: Path) -> None:
    policy = {"a.bias": bias(400), "b.bias": bias(1000), "c.bias": bias(200), "d.bias": bias(0)}
    found = report(tmp_path, policy)
    dead, partly = finding(found, "SD101"), finding(found, "SD102")
    assert dead is not None
    assert partly is not None
    assert (dead.severity, dead.tensors) == ("critical", ("a.bias", "b.bias"))
    assert dead.message == "2 bias tensors are more than 30 % zero"
    assert dead.evidence == "1,400 of 2,000 elements are exactly 0; causes: unknown (2)"
    assert (partly.severity, partly.tensors) == ("warning", ("c.bias",))
    assert partly.message == "1 bias tensor is more than 10 % zero"


def test_causes_stand_in_the_evidence_the_most_frequent_first(tmp_path: Path) -> None:
    policy = {
        name: tensor
        for layer, value in {
            "a": bias(0),
            "b": bias(1000),
            "c": bias(1000),
            "d": bias(1000),
        }.items()
        for name, tensor in {f"{layer}.weight": WEIGHT.clone(), f"{layer}.bias": value}.items()
    }
    zero, live = th.zeros(1000), th.ones(1000)
    moments = [WEIGHT, live, WEIGHT, live, WEIGHT, zero, WEIGHT, zero]
    found = report(tmp_path, policy, PPO, {"policy.optimizer": adam(moments)})
    dead = finding(found, "SD101")
    assert dead is not None
    assert dead.evidence.endswith("causes: zero-gradient (2), reset-after-training (1)")


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        (th.ones(4), "Run `sacdoctor fix --donor auto`"),
        (th.zeros(4), "Remove the cause first"),
        (None, "Remove the cause first"),
    ],
    ids=["reset-after-training", "zero-gradient", "no-gradient"],
)
def test_remedy_depends_on_whether_the_zeros_come_back(
    tmp_path: Path, moment: th.Tensor | None, says: str
) -> None:
    policy = {"net.weight": th.ones(4, 3), "net.bias": th.zeros(4)}
    state = {"policy.optimizer": adam([th.ones(4, 3), moment])}
    dead = finding(report(tmp_path, policy, PPO, state), "SD101")
    assert dead is not None
    assert dead.remedy.startswith(says)


CAUSES: dict[str, tuple[str, list[th.Tensor | None], dict[str, Any]]] = {
    "untrained": ("SD201", [None, None], {"_n_updates": 0}),
    "zero-gradient": ("SD204", [th.ones(10, 3), th.zeros(10)], PPO),
    "reset-after-training": ("SD205", [th.ones(10, 3), th.ones(10)], PPO),
}


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize(("zeros", "severity"), [(1, None), (2, "warning"), (10, "critical")])
def test_rule_of_a_cause_is_as_severe_as_its_worst_bias(
    tmp_path: Path, cause: str, zeros: int, severity: str | None
) -> None:
    code, moments, settings = CAUSES[cause]
    policy = {"net.weight": th.full((10, 3), 0.5), "net.bias": bias(zeros, 10)}
    found = report(tmp_path, policy, settings, {"policy.optimizer": adam(moments)})
    one = finding(found, code)
    if severity is None:
        assert one is None
        return
    assert one is not None
    assert one.severity == ("warning" if cause == "untrained" else severity)
    assert (one.name, one.tensors) == (cause, ("net.bias",))
    assert one.evidence == f"net.bias: {found.biases[0].evidence}"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("a", "1 bias tensor is zero though it was trained: something overwrote it"),
        ("ab", "2 bias tensors are zero though they were trained: something overwrote them"),
    ],
)
def test_reset_biases_are_told_in_number(tmp_path: Path, names: str, message: str) -> None:
    policy = {f"{name}.bias": bias(10, 10) for name in names}
    state = {"policy.optimizer": adam([th.ones(10)] * len(names))}
    found = finding(report(tmp_path, policy, PPO, state), "SD205")
    assert found is not None
    assert found.message == message


def test_untrained_biases_are_left_to_their_own_rule(tmp_path: Path) -> None:
    state = {"policy.optimizer": adam([None])}
    found = report(tmp_path, {"net.bias": bias(1000)}, {"_n_updates": 0}, state)
    assert [f.rule for f in found.findings] == ["SD201"]


def test_target_out_of_sync_names_the_target_alone(tmp_path: Path) -> None:
    found = report(tmp_path, {"q_net.bias": bias(0), "q_net_target.bias": bias(1000)}, DQN)
    one = finding(found, "SD206")
    assert one is not None
    assert (one.severity, one.tensors) == ("critical", ("q_net_target.bias",))
