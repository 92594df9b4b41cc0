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
        ({}, "UNKNOWN  It holds no tensors that could be judged."),
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
    assert set(ranks) == {0, 3}  # whose biases are notices holds other parameters of SD202


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


# -- what a row says beyond zeros --------------------------------------------------------------


def row(text: str, name: str) -> list[str]:
    """The words of the row of this component or tensor, without its bar."""
    (line,) = [line for line in rows(text) if line.strip().startswith(f"{name} ")]
    return re.sub("[█░]+", "", line).split()


def test_a_bias_that_is_nan_is_listed_and_its_component_critical(tmp_path: Path) -> None:
    text = table(policy(tmp_path / "m.zip", **{"actor.mu": [float("nan")], "critic.q": [1.0]}))
    assert row(text, "actor.mu.bias")[-2:] == ["critical", "non-finite"]
    assert row(text, "actor")[-1] == "critical"
    assert row(text, "critic")[-1] == "ok"
    assert "Not listed: 1 bias tensor in order" in text


def test_a_component_says_what_is_wrong_with_weights_that_are_not_listed(tmp_path: Path) -> None:
    state = {"actor.mu.weight": th.full((2, 2), 1e6), "actor.mu.bias": th.ones(2)}
    text = table(scan(write_sb3(tmp_path / "m.zip", state)))
    assert row(text, "actor")[-2:] == ["critical", "exploded-weights"]
    assert "actor.mu.weight" not in "".join(rows(text))


def test_a_component_without_a_bias_has_a_row_where_it_is_in_trouble(tmp_path: Path) -> None:
    state = {"actor.mu.weight": th.full((2, 2), 150.0), "critic.q.bias": th.ones(2)}
    text = table(scan(write_sb3(tmp_path / "m.zip", state)))
    assert row(text, "actor") == ["actor", "warning", "exploded-weights"]


def test_zeros_that_are_worse_than_another_finding_stay_in_the_row(tmp_path: Path) -> None:
    state = {"actor.mu.weight": th.ones(4, 2), "actor.mu.bias": th.tensor([0.0, 0.0, 150.0, 1.0])}
    text = table(scan(write_sb3(tmp_path / "m.zip", state)))
    assert row(text, "actor.mu.bias")[-2:] == ["critical", "unknown"]


def test_biases_in_no_optimizer_are_not_called_in_order(broken: Path) -> None:
    text = " ".join(table(scan(broken)).split())
    assert "Not listed: 34 bias tensors, 15 of which a finding below names;" in text


def test_all_names_the_rule_beside_every_tensor_it_is_about(tmp_path: Path) -> None:
    state = {"actor.mu.weight": th.full((2, 2), 1e6), "actor.mu.bias": th.ones(2)}
    text = table(scan(write_sb3(tmp_path / "m.zip", state)), all_tensors=True)
    assert row(text, "actor.mu.weight")[-2:] == ["critical", "exploded-weights"]


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


def listed(text: str) -> list[list[str]]:
    """Status and path in the lines over all checkpoints, from the top."""
    lines = text.splitlines()
    start = max(n for n, line in enumerate(lines) if not line)
    return [line.split()[:2] for line in lines[start + 1 : -1]]


def test_several_checkpoints_have_a_line_each_the_worst_first(tmp_path: Path) -> None:
    reports = [
        policy(tmp_path / "notice.zip", a=[0.0] + 9 * [1.0]),
        policy(tmp_path / "empty.zip"),
        policy(tmp_path / "critical.zip", a=[0.0]),
        policy(tmp_path / "healthy.zip", a=[1.0]),
        Report(path="gone.zip", status="error", error="no such file"),
        policy(tmp_path / "warning.zip", a=[0.0] + 4 * [1.0]),
    ]
    text = table(*reports, width=300)
    assert [status for status, _ in listed(text)] == [
        "error", "critical", "warning", "notice", "unknown", "healthy"
    ]  # fmt: skip
    assert "gone.zip" in text and "no such file" in text
    assert re.search(r"critical\.zip +SD101 1 bias tensor is more than 30 % zero", text)
    assert re.search(r"empty\.zip +it holds no tensors", text)


def test_of_several_the_bad_alone_are_shown_in_full(broken: Path, healthy: Path) -> None:
    text = table(scan(healthy), scan(broken))
    assert "v11_shared_gru.bias_ih_l0" in text
    assert text.count("component and tensor") == 1
    assert table(scan(healthy), scan(healthy)).count("\n") == 3


def test_verbose_shows_all_of_several_in_full(broken: Path, healthy: Path) -> None:
    out = io.StringIO()
    print_reports(Console(file=out, width=80), [scan(healthy), scan(broken)], verbose=True)
    assert out.getvalue().count("component and tensor") == 2


@pytest.mark.parametrize("width", [60, 80, 200])
def test_lines_over_many_fit_and_keep_the_end_of_a_path(tmp_path: Path, width: int) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    reports = [policy(folder / f"rl_model_{n}_steps.zip", a=[0.0]) for n in range(3)]
    lines = table(*reports, width=width).splitlines()[-4:]
    assert max(map(len, lines)) <= width
    for n, line in enumerate(lines[:3]):
        assert f"model_{n}_steps.zip" in line
        assert "SD101 1 bias" in line


def test_one_checkpoint_has_no_totals(healthy: Path) -> None:
    assert "checkpoint" not in table(scan(healthy)).splitlines()[-2]


def test_markup_in_a_name_is_text(tmp_path: Path) -> None:
    path = write_sb3(tmp_path / "[red]m.zip", {"[bold]a.bias": th.zeros(1)})
    text = table(scan(path), width=300)
    assert "[red]m.zip" in text
    assert "[bold]a.bias" in text
