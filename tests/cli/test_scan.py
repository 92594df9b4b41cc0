"""`sacdoctor scan` on sound checkpoints: what it finds, what it prints, how it exits."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch as th

from fixtures.make import CHECKPOINTS
from tests import torch_truth
from tests.archives import write_sb3
from tests.conftest import Run
from tests.scan_document import parse

DEAD = {
    "v11_shared_gru": ("bias_ih_l0", "bias_hh_l0"),
    "hybrid_fusion": ("0.bias", "2.bias"),
    "market_context": ("regime_detector.2.bias", "context_processor.2.bias"),
    "entry_head": (
        *(f"entry_decision_net.{layer}.bias" for layer in (0, 2, 4, 6, 8)),
        *(f"entry_confidence_net.{layer}.bias" for layer in (0, 2, 4, 6, 8)),
        *(f"quality_analyzer.{layer}.bias" for layer in (0, 2, 4)),
    ),
    "management_head": ("pos1_mgmt_net.2.bias", "pos2_mgmt_net.2.bias"),
    "memory_bank": ("memory_processor.2.bias",),
    "v8_critic": tuple(f"{layer}.bias" for layer in (0, 2, 4, 6, 8, 11)),
}
"""The 28 biases that the report on `TwoHeadV11Sigmoid` found at 100 % zero, by module."""
NAMES = {f"{module}.{rest}" for module, parts in DEAD.items() for rest in parts}


@pytest.fixture(scope="module")
def full_document(full_two_head: Path) -> dict:
    """The full-size checkpoint's JSON, from a process of its own."""
    import subprocess

    from tests.conftest import child_environment

    done = subprocess.run(
        [sys.executable, "-m", "sacdoctor", "scan", str(full_two_head), "--format", "json"],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    return parse(done.stdout)["checkpoints"][0]


# -- the checkpoint that the project started with ----------------------------------------------


def test_two_head_has_exactly_the_28_dead_biases_of_the_report(full_document: dict) -> None:
    dead = {layer["name"] for layer in full_document["layers"] if layer["zero_percent"] == 100}
    assert len(NAMES) == 28
    assert dead == NAMES
    assert full_document["summary"]["all_zero_bias_tensors"] == 28


def test_two_head_has_64_bias_tensors(full_document: dict) -> None:
    assert full_document["summary"]["bias_tensors"] == 64


@pytest.mark.parametrize(("component", "zeros"), [("GRU", 1536), ("fusion", 512)])
def test_two_head_component_zeros_are_those_of_the_report(
    full_document: dict, component: str, zeros: int
) -> None:
    members = [layer for layer in full_document["layers"] if layer["component"] == component]
    assert sum(layer["zeros"] for layer in members) == zeros
    assert sum(layer["parameters"] for layer in members) == zeros


def test_two_head_totals_are_those_of_pytorch(full_document: dict, full_two_head: Path) -> None:
    summary = full_document["summary"]
    tensors = torch_truth.state_dict(full_two_head)
    found = (summary["tensors"], summary["parameters"], summary["zero_parameters"])
    assert found == torch_truth.counts(tensors)
    assert torch_truth.all_zero(tensors) == NAMES


def test_two_head_forget_gates_alone_are_alive(full_document: dict) -> None:
    for layer in full_document["layers"]:
        if layer["name"].startswith("v8_shared_lstm."):
            assert layer["gates"] == {"input": 100, "forget": 0, "cell": 100, "output": 100}
            assert layer["severity"] == "critical"


def test_two_head_fresh_norms_are_notices(full_document: dict, full_two_head: Path) -> None:
    tensors = torch_truth.state_dict(full_two_head)
    for layer in full_document["layers"]:
        if layer["name"] in NAMES:
            weight = tensors.get(layer["name"].removesuffix("bias") + "weight")
            fresh = weight is not None and weight.ndim == 1
            assert not fresh or bool((weight == 1).all())
            assert layer["severity"] == ("notice" if fresh else "critical")
            assert (layer["cause"] == "normalisation-init") == fresh


def test_two_head_is_named_with_its_class_and_settings(full_document: dict) -> None:
    assert full_document["status"] == "critical"
    assert full_document["algorithm"] == "RecurrentPPO"
    assert full_document["policy_class"] == "fixtures.policies.TwoHeadV11Sigmoid"
    assert full_document["num_timesteps"] == 512
    assert full_document["learning_rate"] == 0.005
    assert full_document["optimizer_learning_rates"] == {"policy.optimizer": 0.005}


def test_two_head_aliases_point_at_the_shared_extractor(full_document: dict) -> None:
    aliases = {layer["name"]: layer["alias_of"] for layer in full_document["layers"]}
    for name, other in aliases.items():
        if name.startswith(("pi_", "vf_")):
            assert other == name[3:]
        else:
            assert other is None


# -- exit codes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fail_on", "zero_share", "code"),
    [
        ("critical", 0.31, 1),
        ("critical", 0.30, 0),
        ("warning", 0.30, 1),
        ("warning", 0.11, 1),
        ("warning", 0.10, 0),
        ("warning", 0.06, 0),
        ("never", 1.00, 0),
    ],
)
def test_exit_code_follows_fail_on(
    run: Run, tmp_path: Path, fail_on: str, zero_share: float, code: int
) -> None:
    bias = th.ones(100)
    bias[: round(100 * zero_share)] = 0
    path = write_sb3(
        tmp_path / "m.zip", {"actor.mu.weight": th.ones(100, 1), "actor.mu.bias": bias}
    )
    assert run("scan", path, "--fail-on", fail_on).code == code


def test_healthy_checkpoint_exits_0_and_says_so(run: Run, healthy: Path) -> None:
    outcome = run("scan", healthy)
    assert (outcome.code, outcome.err) == (0, "")
    assert "HEALTHY" in outcome.out


@pytest.mark.parametrize(
    "options",
    [
        ("--warning", "-1"),
        ("--warning", "101"),
        ("--warning", "nan"),
        ("--warning", "many"),
        ("--critical", "-0.1"),
        ("--critical", "100.5"),
        ("--critical", "inf"),
        ("--critical", "5"),
        ("--warning", "40"),
        ("--fail-on", "notice"),
        ("--format", "xml"),
        ("--no-such-option",),
    ],
)
def test_wrong_options_exit_2_without_a_result(
    run: Run, healthy: Path, options: tuple[str, ...]
) -> None:
    outcome = run("scan", healthy, *options)
    assert outcome.code == 2
    assert outcome.out == ""
    assert options[0].lstrip("-") in outcome.err
    assert "Traceback" not in outcome.err


def test_no_path_is_wrong_usage(run: Run) -> None:
    assert run("scan").code == 2


def test_thresholds_move_the_severities(run: Run, tmp_path: Path) -> None:
    bias = th.tensor([0.0, 1.0, 1.0, 1.0, 1.0])
    path = write_sb3(tmp_path / "m.zip", {"fc.weight": th.ones(5, 1), "fc.bias": bias})

    def status(*options: str) -> str:
        text = run("scan", path, "--format", "json", *options).out
        return str(parse(text)["checkpoints"][0]["status"])

    assert status() == "warning"
    assert status("--critical", "19.9") == "critical"
    assert status("--warning", "20") == "notice"
    assert status("--warning", "0", "--critical", "0") == "critical"


# -- help --------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_option(run: Run, flag: str) -> None:
    outcome = run("scan", flag)
    assert (outcome.code, outcome.err) == (0, "")
    for option in (
        "--format",
        "--output",
        "--warning",
        "--critical",
        "--fail-on",
        "--include",
        "--exclude",
        "--all",
    ):
        assert option in outcome.out


def test_help_of_the_command_names_the_verb(run: Run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    assert "scan" in outcome.out


def test_version_is_the_packages(run: Run) -> None:
    import sacdoctor

    assert run("--version").out.split() == ["sacdoctor", sacdoctor.__version__]


# -- output ------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["table", "json"])
def test_output_writes_what_stdout_would_show(
    run: Run, tmp_path: Path, broken: Path, format: str
) -> None:
    target = tmp_path / "result.txt"
    plain = run("scan", broken, "--format", format)
    written = run("scan", broken, "--format", format, "--output", target)
    assert (plain.code, written.code) == (1, 1)
    assert written.out == ""
    assert target.read_text(encoding="utf-8") == plain.out


@pytest.mark.parametrize("place", ["missing/result.json", "."])
def test_output_that_cannot_be_written_exits_2(
    run: Run, tmp_path: Path, healthy: Path, place: str
) -> None:
    target = tmp_path / place
    outcome = run("scan", healthy, "--output", target)
    assert outcome.code == 2
    assert str(target) in outcome.complaint


def test_all_lists_every_tensor_of_the_state_dict(run: Run, healthy: Path) -> None:
    document = parse(run("scan", healthy, "--all", "--format", "json").out)
    names = [layer["name"] for layer in document["checkpoints"][0]["layers"]]
    assert names == list(torch_truth.state_dict(healthy))


def test_without_all_the_layers_are_the_biases(run: Run, healthy: Path) -> None:
    document = parse(run("scan", healthy, "--format", "json").out)
    names = {layer["name"] for layer in document["checkpoints"][0]["layers"]}
    assert names == {n for n in torch_truth.state_dict(healthy) if "bias" in n.rpartition(".")[2]}


def test_every_layers_zeros_are_pytorchs(run: Run, broken: Path) -> None:
    document = parse(run("scan", broken, "--all", "--format", "json").out)
    truth = torch_truth.state_dict(broken)
    for layer in document["checkpoints"][0]["layers"]:
        tensor = truth[layer["name"]]
        assert layer["shape"] == list(tensor.shape)
        assert layer["zeros"] == torch_truth.zeros(tensor)


# -- include and exclude -----------------------------------------------------------------------


def test_include_looks_at_nothing_else(run: Run, broken: Path) -> None:
    document = parse(run("scan", broken, "--include", "*gru*", "--format", "json").out)
    (checkpoint,) = document["checkpoints"]
    assert {layer["component"] for layer in checkpoint["layers"]} == {"GRU"}
    assert checkpoint["summary"]["tensors"] == 4


def test_several_patterns_add_up(run: Run, broken: Path) -> None:
    options = ("--include", "*gru*", "--include", "v8_critic.*", "--format", "json")
    layers = parse(run("scan", broken, *options).out)["checkpoints"][0]["layers"]
    assert {layer["component"] for layer in layers} == {"GRU", "critic"}


def test_exclude_wins_over_include(run: Run, broken: Path) -> None:
    options = ("--include", "*gru*", "--exclude", "*.bias_hh*", "--format", "json")
    layers = parse(run("scan", broken, *options).out)["checkpoints"][0]["layers"]
    assert [layer["name"] for layer in layers] == ["v11_shared_gru.bias_ih_l0"]


def test_excluding_what_is_broken_leaves_a_clean_exit(run: Run) -> None:
    path = CHECKPOINTS / "sac_two_head_broken.zip"
    modules = ("v8_shared_lstm", "v11_shared_gru", "hybrid_fusion")
    patterns = [option for module in modules for option in ("--exclude", f"*.{module}.*")]
    assert run("scan", path).code == 1
    assert run("scan", path, *patterns).code == 0


# -- many checkpoints --------------------------------------------------------------------------


def test_folder_is_scanned_with_everything_below_it(run: Run, many: Path, broken: Path) -> None:
    deep = many / "run 2" / "best"
    deep.mkdir(parents=True)
    (deep / "model.ZIP").write_bytes(broken.read_bytes())
    (many / "notes.txt").write_text("not a checkpoint")
    outcome = run("scan", many, "--format", "json")
    statuses = [checkpoint["status"] for checkpoint in parse(outcome.out)["checkpoints"]]
    assert sorted(statuses) == ["critical"] + 6 * ["healthy"]
    assert outcome.code == 1


def test_pattern_is_expanded_where_the_shell_did_not(run: Run, many: Path) -> None:
    outcome = run("scan", f"{many}/rl_model_[0-2]_*.zip", "--format", "json")
    paths = [checkpoint["path"] for checkpoint in parse(outcome.out)["checkpoints"]]
    assert paths == [str(many / f"rl_model_{number}_steps.zip") for number in range(3)]


def test_one_unreadable_file_among_many_is_reported_and_the_rest_go_on(
    run: Run, many: Path
) -> None:
    bad = many / "rl_model_3_steps.zip"
    bad.write_bytes(b"")
    outcome = run("scan", many, "--format", "json")
    assert outcome.code == 2
    assert str(bad) in outcome.complaint
    statuses = [checkpoint["status"] for checkpoint in parse(outcome.out)["checkpoints"]]
    assert statuses == 3 * ["healthy"] + ["error"] + 2 * ["healthy"]


def test_unreadable_beats_critical_in_the_exit_code(run: Run, tmp_path: Path, broken: Path) -> None:
    outcome = run("scan", broken, tmp_path / "missing.zip", "--fail-on", "never")
    assert outcome.code == 2


def test_table_over_many_ends_with_the_totals(run: Run, many: Path, broken: Path) -> None:
    (many / "empty.zip").write_bytes(b"")
    outcome = run("scan", many, broken)
    assert outcome.out.splitlines()[-1] == "8 checkpoints: 1 critical, 6 healthy, 1 error"


# -- start-up ----------------------------------------------------------------------------------

BLOCKED = ("torch", "stable_baselines3", "sb3_contrib", "matplotlib", "pandas", "gymnasium")
WRAPPER = "import sys; sys.modules.update(dict.fromkeys({blocked!r})); {rest}"


@pytest.mark.parametrize("format", ["table", "json"])
def test_scan_needs_neither_torch_nor_stable_baselines3(
    tmp_path: Path, broken: Path, format: str
) -> None:
    import subprocess

    from tests.conftest import child_environment

    rest = "from sacdoctor.cli.main import main; main()"
    command = [sys.executable, "-c", WRAPPER.format(blocked=BLOCKED, rest=rest)]
    done = subprocess.run(
        [*command, "scan", str(broken), "--format", format],
        capture_output=True,
        text=True,
        env=child_environment(),
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    if format == "json":
        summary = parse(done.stdout)["checkpoints"][0]["summary"]
        assert summary["all_zero_bias_tensors"] == 28
    else:
        assert "28 of 64 bias tensors are 100 % zero" in done.stdout


def test_the_wrapper_does_block_torch() -> None:
    import subprocess

    from tests.conftest import child_environment

    command = [sys.executable, "-c", WRAPPER.format(blocked=BLOCKED, rest="import torch")]
    done = subprocess.run(command, capture_output=True, env=child_environment(), check=False)
    assert b"ModuleNotFoundError" in done.stderr or b"ImportError" in done.stderr


def test_json_over_many_is_one_document(run: Run, many: Path) -> None:
    assert len(json.loads(run("scan", many, "--format", "json").out)["checkpoints"]) == 6


# -- nothing to judge --------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["table", "json"])
def test_a_pattern_that_fits_nothing_is_wrong_usage(run: Run, healthy: Path, format: str) -> None:
    outcome = run("scan", healthy, "--include", "acter.*", "--format", format)
    assert outcome.code == 2
    assert outcome.complaint == "sacdoctor: --include 'acter.*' fits no tensor that was looked at"
    assert "healthy" not in outcome.out.lower()


def test_one_of_two_patterns_that_fits_nothing_is_wrong_usage(run: Run, healthy: Path) -> None:
    options = ("--include", "v8_critic.*", "--include", "acter.*")
    assert run("scan", healthy, *options).code == 2
    assert run("scan", healthy, *options[:2]).code == 0


def test_a_pattern_need_not_fit_every_file(run: Run, tmp_path: Path, healthy: Path) -> None:
    other = write_sb3(tmp_path / "m.zip", {"fc.bias": th.ones(2)})
    outcome = run("scan", healthy, other, "--include", "v8_critic.*")
    assert (outcome.code, outcome.err) == (0, "")
    assert "2 checkpoints: 1 unknown, 1 healthy" in outcome.out


def test_exclude_that_leaves_nothing_is_wrong_usage(run: Run, healthy: Path) -> None:
    outcome = run("scan", healthy, "--exclude", "*")
    assert (outcome.code, "--exclude '*' leaves no tensor" in outcome.err) == (2, True)


def test_a_checkpoint_without_tensors_is_unknown_and_nothing_to_pass(
    run: Run, tmp_path: Path, healthy: Path
) -> None:
    empty = write_sb3(tmp_path / "m.zip", {})
    outcome = run("scan", empty, "--format", "json")
    assert (outcome.code, parse(outcome.out)["checkpoints"][0]["status"]) == (2, "unknown")
    assert outcome.complaint == "sacdoctor: there is no tensor to judge in what was scanned"
    assert run("scan", empty, healthy).code == 0


def test_patterns_say_nothing_where_code_alone_is_asked_for(run: Run, healthy: Path) -> None:
    assert run("scan", healthy, "--select", "SD601", "--include", "acter.*").code == 0


# -- names as SB3 takes them -------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["scan", "fix", "diff", "fix-config", "warmup"])
def test_a_name_finds_the_zip_that_sb3_saved_under_it(
    run: Run, tmp_path: Path, healthy_bytes: bytes, verb: str
) -> None:
    (tmp_path / "model_0.5.zip").write_bytes(healthy_bytes)
    names = (tmp_path / "model_0.5",) * (2 if verb == "diff" else 1)
    outcome = run(verb, *names)
    assert outcome.code in (0, 1)
    assert outcome.err == ""


def test_a_file_of_that_very_name_comes_first(run: Run, tmp_path: Path, broken: Path) -> None:
    write_sb3(tmp_path / "model", {"fc.bias": th.ones(2)})
    (tmp_path / "model.zip").write_bytes(broken.read_bytes())
    assert run("scan", tmp_path / "model").code == 0


def test_a_name_without_any_file_is_named_as_it_was_given(run: Run, tmp_path: Path) -> None:
    outcome = run("scan", tmp_path / "model")
    assert outcome.code == 2
    assert outcome.complaint.startswith(f"sacdoctor: {tmp_path / 'model'}: ")


def test_fix_writes_beside_the_zip_it_found(run: Run, tmp_path: Path, broken: Path) -> None:
    (tmp_path / "model.zip").write_bytes(broken.read_bytes())
    assert run("fix", tmp_path / "model").code == 0
    assert (tmp_path / "model_FIXED.zip").exists()
