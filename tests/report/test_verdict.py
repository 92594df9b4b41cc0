"""The sentence over a report: it leads with the worst, whatever that is, and names the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch as th

from sacdoctor import Report, ScanOptions, scan
from sacdoctor.report.verdict import in_short, verdict
from tests.archives import write_sb3
from tests.labelled import Labelled

NAN = float("nan")


def report(path: Path, bias: list[float], weight: float = 1.0, **settings: Any) -> Report:
    state = {"fc.weight": th.full((len(bias), 2), weight), "fc.bias": th.tensor(bias)}
    return scan(write_sb3(path / "m.zip", state, settings))


@pytest.mark.parametrize(
    ("bias", "weight", "words"),
    [
        ([1.0, 1.0], 1.0, "None of 1 bias tensor is more than 5 % zero."),
        ([1.0, 1.0], 1e4, "1 tensor holds values above 100."),
        ([1.0, 1.0], NAN, "4 values are NaN or infinite, in 1 tensor."),
        ([0.0, 1.0], 1.0, "1 of 1 bias tensor is more than 30 % zero; cause: unknown."),
        (
            [0.0, 1.0],
            150.0,
            "1 of 1 bias tensor is more than 30 % zero; cause: unknown. Also: SD302.",
        ),
        ([0.0, 1.0], NAN, "4 values are NaN or infinite, in 1 tensor. Also: SD101."),
        ([0.0] + 4 * [1.0], 1e4, "1 tensor holds values above 100. Also: SD102."),
        ([0.0] + 9 * [1.0], 150.0, "1 tensor holds values above 100."),
        ([0.0] + 9 * [1.0], 1.0, "1 of 1 bias tensor is more than 5 % zero."),
    ],
)
def test_it_leads_with_the_worst(
    tmp_path: Path, bias: list[float], weight: float, words: str
) -> None:
    assert verdict(report(tmp_path, bias, weight)) == words


def test_a_setting_leads_where_it_is_all_there_is(labelled: Labelled) -> None:
    found = labelled.report("clipping_loose_ppo")
    assert verdict(found) == "max_grad_norm is 100."


def test_a_cause_leads_once_the_zeros_are_gone(broken: Path, tmp_path: Path) -> None:
    """The first report's case, repaired: nothing is zero, and nothing is cured."""
    from sacdoctor import fix

    fix(broken, output=tmp_path / "m.zip")
    words = verdict(scan(tmp_path / "m.zip"))
    assert words == "91 parameters in 44 layers are in no optimizer and never learn. Also: SD401."


def test_rules_that_were_not_asked_do_not_speak(broken: Path) -> None:
    selected = scan(broken, ScanOptions(select=("SD3",)))
    assert verdict(selected) == "The rules that were selected found nothing."
    rate = scan(broken, ScanOptions(select=("SD4",)))
    assert verdict(rate).startswith("The learning rate 0.005 is outside")


def test_code_alone_says_that_it_was_all(healthy: Path) -> None:
    gate = scan(healthy, ScanOptions(select=("SD601",)))
    assert (gate.status, verdict(gate)) == (
        "healthy",
        "Only what loading it would run was looked at: nothing outside SB3 and its libraries was "
        "found.",
    )


def test_a_pickle_is_no_network_that_could_be_healthy(tmp_path: Path) -> None:
    path = tmp_path / "buffer.pkl"
    path.write_bytes(b"\x80\x04N.")
    assert scan(path).status == "unknown"
    assert verdict(scan(path)).startswith("Only the code in this pickle was looked at: ")


@pytest.mark.parametrize("options", [{"include": ("x*",)}, {"exclude": ("*",)}])
def test_patterns_that_let_nothing_through_leave_it_unknown(
    healthy: Path, options: dict[str, tuple[str, ...]]
) -> None:
    found = scan(healthy, ScanOptions(**options))  # type: ignore[arg-type]
    assert found.status == "unknown"
    assert verdict(found).startswith("No tensor was looked at: --include and --exclude")


def test_in_short_counts_what_else_there_is(broken: Path, healthy: Path) -> None:
    assert in_short(scan(broken)) == (
        "SD101 not-in-optimizer: 20 bias tensors are more than 30 % zero (+2 more)"
    )
    assert in_short(scan(healthy)) == ""
    assert in_short(Report("m.zip", "error", error="no such file")) == "no such file"  # type: ignore[arg-type]
