"""The table for people: what it says, where, and that it fits."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import torch as th
from rich.console import Console

from sacdoctor import Report, ScanOptions, Thresholds, scan
from sacdoctor.report.formats.table.scan import print_reports
from tests.archives import write_sb3


def table(*reports: Report, width: int = 80, all_tensors: bool = False) -> str:
    """The lines of the table as a plain file gets them."""
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False, emoji=False)
    print_reports(console, reports, all_tensors=all_tensors)
    return out.getvalue()


def rows(text: str) -> list[str]:
    """The lines of the table itself, without what stands above and below it."""
    lines = [line.rstrip() for line in text.splitlines()]
    start = next(n for n, line in enumerate(lines) if line.startswith("component and tensor"))
    return lines[start + 1 : lines.index("", start) if "" in lines[start:] else None]


def policy(path: Path, **biases: list[float]) -> Report:
    state = {f"{name}.bias": th.tensor(values) for name, values in biases.items()}
    return scan(write_sb3(path, state))


# -- the headline ------------------------------------------------------------------------------


def test_headline_counts_the_dead_biases(broken: Path) -> None:
    assert "CRITICAL  28 of 64 bias tensors are 100 % zero" in table(scan(broken))


@pytest.mark.parametrize(
    ("biases", "words"),
    [
        ({"a": [0.0, 0.0]}, "1 of 1 bias tensor is 100 % zero"),
        ({"a": [0.0], "b": [1.0]}, "1 of 2 bias tensors is 100 % zero"),
        ({"a": [0.0], "b": [0.0]}, "2 of 2 bias tensors are 100 % zero"),
        ({"a": [0.0, 1.0]}, "1 of 1 bias tensor is more than 30 % zero"),
        ({"a": [0.0] + 4 * [1.0]}, "1 of 1 bias tensor is more than 10 % zero"),
        ({"a": [0.0] + 9 * [1.0]}, "1 of 1 bias tensor is more than 5 % zero"),
        ({"a": [1.0]}, "None of 1 bias tensor is more than 5 % zero"),
        ({}, "The policy has no bias tensors"),
    ],
)
def test_headline(tmp_path: Path, biases: dict[str, list[float]], words: str) -> None:
    assert words in table(policy(tmp_path / "m.zip", **biases))


def test_headline_names_the_users_thresholds(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "m.zip", {"a.bias": th.tensor([0.0, 1.0, 1.0, 1.0])})
    options = ScanOptions(thresholds=Thresholds(warning=1, critical=20))
    assert "1 of 1 bias tensor is more than 20 % zero" in table(scan(path, options))


def test_head_names_file_algorithm_and_settings(broken: Path) -> None:
    text = table(scan(broken), width=200)
    assert text.startswith(f"{broken}\nRecurrentPPO, TwoHeadV11Sigmoid, 512 steps, ")
    assert "learning rate 0.005" in text
    assert "SB3 2.9.2" in text


# -- the rows ----------------------------------------------------------------------------------


def test_rows_stand_under_their_component(broken: Path) -> None:
    lines = rows(table(scan(broken), width=120))
    at = next(n for n, line in enumerate(lines) if line.startswith("GRU"))
    assert re.match(r"GRU +192 +100\.0 +█{10} +critical", lines[at])
    assert re.match(r"  v11_shared_gru\.bias_ih_l0 +96 +100\.0 +█{10} +critical", lines[at + 1])


def test_critical_components_come_first(broken: Path) -> None:
    lines = [line for line in rows(table(scan(broken), width=120)) if not line.startswith(" ")]
    levels = [re.split(r"[█░]+ +", line)[1].split()[0] for line in lines[:10]]
    ranks = [["critical", "warning", "notice", "ok"].index(level) for level in levels]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 2, 3}


def test_gates_are_spelled_out_where_they_differ(broken: Path) -> None:
    lines = table(scan(broken), width=120).splitlines()
    at = next(n for n, line in enumerate(lines) if "v8_shared_lstm.bias_ih_l0" in line)
    assert lines[at + 1].strip() == "input 100 %, forget 0 %, cell 100 %, output 100 %"


def test_gates_are_not_spelled_out_where_they_agree(broken: Path) -> None:
    assert "reset 100 %" not in table(scan(broken))


def test_biases_in_order_are_counted_and_not_listed(healthy: Path) -> None:
    text = table(scan(healthy))
    assert "Not listed: 64 bias tensors in order; --all lists every tensor." in text
    assert ".bias" not in text


def test_all_lists_weights_and_aliases(healthy: Path) -> None:
    text = table(scan(healthy), width=200, all_tensors=True)
    (row,) = [line for line in text.splitlines() if "action_net.weight" in line]
    assert row.split()[-1] == "weight"
    assert "is features_extractor.temporal_projection.bias" in text
    assert "Not listed" not in text


@pytest.mark.parametrize(
    ("zeros", "of", "percent", "filled"),
    [
        (0, 10_000, "0.0", 0),
        (1, 10_000, "<0.1", 1),
        (5, 10_000, "0.1", 1),
        (500, 1_000, "50.0", 5),
        (999, 1_000, "99.9", 9),
        (9_999, 10_000, ">99.9", 9),
        (10_000, 10_000, "100.0", 10),
    ],
)
def test_bar_and_percentage_are_full_or_empty_only_when_it_is_exactly_so(
    tmp_path: Path, zeros: int, of: int, percent: str, filled: int
) -> None:
    bias = th.ones(of)
    bias[:zeros] = 0
    path = write_sb3(tmp_path / "m.zip", {"head.bias": bias})
    lines = rows(table(scan(path), width=120, all_tensors=True))
    (line,) = [line for line in lines if "head.bias" in line]
    assert f" {percent} " in line
    assert line.count("█") == filled
    assert line.count("█") + line.count("░") == 10


def test_a_console_without_blocks_gets_plain_signs(broken: Path) -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    print_reports(Console(file=out, width=120), [scan(broken)])
    out.flush()
    text = raw.getvalue().decode("ascii")
    assert "##########" in text
    assert "......" in text


# -- width -------------------------------------------------------------------------------------


@pytest.mark.parametrize("all_tensors", [False, True])
def test_no_line_is_longer_than_80_columns(
    full_two_head: Path, healthy: Path, all_tensors: bool
) -> None:
    text = table(scan(full_two_head), scan(healthy), all_tensors=all_tensors)
    assert max(map(len, text.splitlines())) <= 80


def test_long_names_are_broken_after_a_dot(tmp_path: Path) -> None:
    name = "features_extractor.extractors.screen.convolutional_trunk.block_3.bias"
    path = write_sb3(tmp_path / "m.zip", {name: th.zeros(4)})
    lines = rows(table(scan(path)))[1:]
    assert max(map(len, lines)) <= 80
    pieces = [line.split()[0] for line in lines]
    assert "".join(pieces) == name
    assert all(piece.endswith(".") for piece in pieces[:-1])


def test_a_name_without_dots_still_fits(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "m.zip", {"head." + "x" * 300 + ".bias": th.zeros(4)})
    lines = rows(table(scan(path)))
    assert max(map(len, lines)) <= 80
    assert "".join(lines).count("x") == 300


def test_hundreds_of_millions_of_elements_still_fit(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "m.zip", {"head.bias": th.zeros(1).expand(999_999_999)})
    assert "999,999,999" in table(scan(path), width=120)
    for width in (80, 100, 120):
        assert max(map(len, rows(table(scan(path), width=width)))) <= width


# -- several checkpoints -----------------------------------------------------------------------


def test_totals_count_every_status(broken: Path, healthy: Path) -> None:
    gone = Report(path="gone.zip", status="error", error="no such file")
    last = table(scan(broken), scan(healthy), gone, scan(healthy)).splitlines()[-1]
    assert last == "4 checkpoints: 1 critical, 2 healthy, 1 error"


def test_one_checkpoint_has_no_totals(healthy: Path) -> None:
    assert "checkpoint" not in table(scan(healthy)).splitlines()[-2]


def test_markup_in_a_name_is_text(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "[red]m.zip", {"[bold]a.bias": th.zeros(1)})
    text = table(scan(path), width=300)
    assert "[red]m.zip" in text
    assert "[bold]a.bias" in text
