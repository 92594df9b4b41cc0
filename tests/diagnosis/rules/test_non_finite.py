"""SD301: NaN and infinity, and where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch as th

from tests.archives import saved, sb3_members, zip_of
from tests.diagnosis.handmade import PPO, SAC, adam, finding, report

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["net.weight", "net.bias"])
@pytest.mark.parametrize("dtype", [th.float16, th.bfloat16, th.float32, th.float64], ids=str)
def test_one_value_in_a_parameter_is_enough(
    tmp_path: Path, name: str, value: float, dtype: th.dtype
) -> None:
    policy = {"net.weight": th.ones(4, 3, dtype=dtype), "net.bias": th.ones(4, dtype=dtype)}
    policy[name][2] = value
    one = finding(report(tmp_path, policy), "SD301")
    assert one is not None
    assert (one.severity, one.tensors) == ("critical", (name,))


@pytest.mark.parametrize("seed", range(5))
def test_positions_are_numpys(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, 4, 3)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = NAN
    places = [list(map(int, place)) for place in zip(*np.nonzero(np.isnan(values)), strict=True)]
    one = finding(report(tmp_path, {"net.weight": th.from_numpy(values)}), "SD301")
    assert one is not None
    first = ", ".join(map(str, places[:3]))
    assert one.evidence == f"net.weight: {len(places)} of 60, first at {first}"
    assert one.message == f"{len(places)} values are NaN or infinite, in 1 tensor"


def test_positions_in_a_transposed_view(tmp_path: Path) -> None:
    base = th.ones(2, 3)
    base[1, 0] = NAN
    one = finding(report(tmp_path, {"net.weight": base.t()}), "SD301")
    assert one is not None
    assert one.evidence == "net.weight: 1 of 6, first at [0, 1]"
    assert one.message == "1 value is NaN or infinite, in 1 tensor"


@pytest.mark.parametrize("dtype", [th.float32, th.bfloat16], ids=str)
@pytest.mark.parametrize(("value", "counts"), [(NAN, True), (-INF, False)])
def test_mask_may_hold_infinity_but_not_nan(
    tmp_path: Path, value: float, counts: bool, dtype: th.dtype
) -> None:
    mask = th.zeros(3, 3, dtype=dtype)
    mask[0, 1] = value
    one = finding(report(tmp_path, {"attention.mask": mask}), "SD301")
    assert (one is not None) == counts


@pytest.mark.parametrize("key", ["exp_avg", "exp_avg_sq"])
def test_moments_are_looked_at(tmp_path: Path, key: str) -> None:
    state = adam([th.ones(2), th.ones(3)])
    state["state"][1][key] = th.tensor([1.0, INF, NAN])
    policy = {"net.bias": th.ones(2), "head.bias": th.ones(3)}
    one = finding(report(tmp_path, policy, PPO, {"policy.optimizer": state}), "SD301")
    assert one is not None
    assert one.tensors == (f"policy.optimizer[1].{key}",)
    assert one.evidence.endswith("2 of 3, first at [1], [2]")


def test_entropy_coefficient_is_looked_at(tmp_path: Path) -> None:
    from sacdoctor import scan

    members = sb3_members({"actor.mu.bias": th.ones(2)}, SAC)
    members["pytorch_variables.pth"] = saved({"log_ent_coef": th.tensor([NAN])})
    (tmp_path / "m.zip").write_bytes(zip_of(members))
    one = finding(scan(tmp_path / "m.zip"), "SD301")
    assert one is not None
    assert one.tensors == ("log_ent_coef",)


def test_large_and_tiny_values_are_finite(tmp_path: Path) -> None:
    """Their squares overflow and vanish."""
    policy = {"net.weight": th.tensor([[3e38, -3e38], [1e-45, 0.0]])}
    assert finding(report(tmp_path, policy), "SD301") is None


def test_second_name_is_not_counted_again(tmp_path: Path) -> None:
    tensor = th.tensor([NAN, 1.0])
    one = finding(report(tmp_path, {"net.bias": tensor, "again.bias": tensor}), "SD301")
    assert one is not None
    assert one.tensors == ("net.bias",)
