"""SD504 to SD506: the entropy coefficient and the spread of actions, at their borders."""

from __future__ import annotations

from math import log
from pathlib import Path

import pytest
import torch as th

from sacdoctor import Finding, scan
from tests.archives import saved, sb3_members, zip_of
from tests.diagnosis.handmade import SAC, finding, report


def entropy(
    folder: Path,
    variables: dict[str, th.Tensor],
    member: str,
    code: str = "SD504",
    ent_coef: str = "auto",
) -> Finding | None:
    members = sb3_members({"actor.mu.bias": th.ones(2)}, {**SAC, "ent_coef": ent_coef})
    members[member] = saved(variables)
    (folder / "m.zip").write_bytes(zip_of(members))
    return finding(scan(folder / "m.zip"), code)


@pytest.mark.parametrize("member", ["pytorch_variables.pth", "tensors.pth"])
@pytest.mark.parametrize(
    ("coefficient", "severity"),
    [
        (1.0, None),
        (4e-4, None),
        (1.01e-5, None),
        (0.99e-5, "warning"),
        (1.01e-6, "warning"),
        (0.99e-6, "critical"),
        (1e-30, "critical"),
    ],
)
def test_entropy_coefficient(
    tmp_path: Path, coefficient: float, severity: str | None, member: str
) -> None:
    one = entropy(tmp_path, {"log_ent_coef": th.tensor([log(coefficient)])}, member)
    assert (one and one.severity) == severity
    if one is not None:
        assert f"{coefficient:.1e}" in one.evidence


@pytest.mark.parametrize(
    "variables",
    [
        {"ent_coef_tensor": th.tensor(1e-9)},
        {"log_ent_coef": th.tensor([float("nan")])},
        {"log_ent_coef": th.tensor([-20.0, -20.0])},
        {"log_ent_coef": th.tensor([1e4])},
        {"log_ent_coef": th.tensor([-20.0], dtype=th.bfloat16)},
        {},
    ],
    ids=["fixed-by-hand", "nan", "two-numbers", "astronomic", "bfloat16", "none"],
)
def test_what_is_no_learned_coefficient_is_not_judged(
    tmp_path: Path, variables: dict[str, th.Tensor]
) -> None:
    assert entropy(tmp_path, variables, "pytorch_variables.pth") is None


@pytest.mark.parametrize(
    ("coefficient", "ent_coef", "severity"),
    [
        (0.91, "auto", None),  # the largest of healthy trained checkpoints
        (4.9, "auto", None),
        (7.7, "auto", "warning"),
        (51.0, "auto", "critical"),
        (1e30, "auto", "critical"),
        (9.5, "auto_10", None),
        (11.0, "auto_10", "warning"),
    ],
)
def test_entropy_coefficient_has_grown_above_where_it_started(
    tmp_path: Path, coefficient: float, ent_coef: str, severity: str | None
) -> None:
    variables = {"log_ent_coef": th.tensor([log(coefficient)])}
    one = entropy(tmp_path, variables, "pytorch_variables.pth", "SD506", ent_coef)
    assert (one and one.severity) == severity


@pytest.mark.parametrize("name", ["log_std", "actor.log_std"])
@pytest.mark.parametrize(
    ("deviations", "severity"),
    [
        ([1.0, 1.0], None),
        ([0.0101, 1e-6], None),
        ([0.0099, 0.0099], "warning"),
        ([0.0099, 1e-6], "warning"),
        ([0.00101, 1e-6], "warning"),
        ([0.00099, 1e-6], "critical"),
    ],
)
def test_spread_has_collapsed_where_it_has_in_every_dimension(
    tmp_path: Path, name: str, deviations: list[float], severity: str | None
) -> None:
    policy = {name: th.tensor(deviations).log()}
    one = finding(report(tmp_path, policy), "SD505")
    assert (one and one.severity) == severity
    if one is not None:
        assert one.tensors == (name,)
        assert f"{deviations[0]:.1e} in 2 dimensions" in one.evidence


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("actor.log_std.bias", th.full((2,), -20.0)),
        ("actor.log_std.weight", th.full((2, 2), -20.0)),
        ("log_std", th.tensor([float("nan"), -20.0])),
        ("log_std", th.empty(0)),
        ("log_std", th.full((2,), 1e4)),
    ],
    ids=["layer-bias", "layer-weight", "nan", "empty", "astronomic"],
)
def test_what_is_no_spread_is_not_judged(tmp_path: Path, name: str, values: th.Tensor) -> None:
    assert finding(report(tmp_path, {name: values}), "SD505") is None


def test_matrix_of_gsde_is_judged_as_a_whole(tmp_path: Path) -> None:
    one = finding(report(tmp_path, {"log_std": th.full((4, 2), -12.0)}), "SD505")
    assert one is not None
    assert "8 dimensions" in one.evidence
