"""An agent of somebody's own, in plain PyTorch: opened, judged, repaired, and trained on."""

from __future__ import annotations

import enum
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from fixtures.own_agent import STEPS, OwnSAC, Settings, make_own_agent
from sacdoctor import Checkpoint, ScanOptions, scan
from sacdoctor.diagnosis import Facts
from tests.conftest import Run
from tests.kept import Kept
from tests.payloads import Calls


@pytest.fixture(scope="module")
def folder(kept: Kept) -> Path:
    return kept("own-agent", make_own_agent)


# -- the fixture itself ------------------------------------------------------------------------


def test_the_buffers_head_holds_actions_that_never_happened(folder: Path) -> None:
    forced = Settings().forced_steps
    buffer = np.load(folder / "buffer.npz")
    executed = buffer["next_states"][:, -1]
    assert np.all(executed[:forced] == 0.0)
    assert np.all(buffer["actions"][:forced] != 0.0)
    assert np.array_equal(executed[forced:], buffer["actions"][forced:, 0])


def test_both_forms_of_the_buffer_hold_the_same(folder: Path) -> None:
    arrays = np.load(folder / "buffer.npz")
    own = pickle.loads((folder / "buffer.pkl").read_bytes())
    assert own.size == STEPS < own.capacity
    for name in arrays.files:
        assert np.array_equal(getattr(own, name)[: own.size], arrays[name])


def test_it_loads_what_it_saves(folder: Path) -> None:
    agent = OwnSAC.load(folder / "agent.pt")
    assert agent.total_steps == STEPS
    assert agent.learn(70).total_steps == STEPS + 70


# -- what is said of it ------------------------------------------------------------------------

PARTS = {
    "actor": "actor",
    "critic1": "critic1",
    "critic2": "critic2",
    "critic1_target": "critic1 target",
    "critic2_target": "critic2 target",
    "log_alpha": "log alpha",
}


def trained(
    steps: int = 180, prepare: Callable[[OwnSAC], None] | None = None, **settings: Any
) -> OwnSAC:
    agent = OwnSAC(Settings(forced_steps=60, **settings))
    if prepare is not None:
        prepare(agent)
    return agent.learn(steps)


def saved(agent: OwnSAC, folder: Path) -> Path:
    path = folder / "agent.pt"
    agent.save(path)
    return path


def zeroed(path: Path, *parts: str) -> dict[str, th.Tensor]:
    """The file with all biases of the parts set to 0; returns them by name, as they were."""
    content = th.load(path, weights_only=False)
    lost = {}
    for part in parts:
        for name, tensor in content[part].items():
            if name.endswith("bias"):
                lost[f"{part}.{name}"] = tensor.clone()
                tensor.zero_()
    th.save(content, path)
    return lost


def test_its_parts_roles_and_counters_are_read(folder: Path) -> None:
    report = scan(folder / "agent.pt")
    assert report.status == "healthy"
    assert report.num_timesteps == STEPS
    assert report.n_updates == STEPS - Settings().starts_after
    agent = OwnSAC.load(folder / "agent.pt")
    names = {"log_alpha"}
    for part in PARTS.keys() - {"log_alpha"}:
        module = getattr(agent, part)
        names |= {f"{part}.{name}" for name in module.state_dict()}
        roles = {layer.name: layer.role for layer in report.layers}
        for name, _ in module.named_parameters():
            assert roles[f"{part}.{name}"] in ("weight", "bias")
        for name, _ in module.named_buffers():
            assert roles[f"{part}.{name}"] == "buffer"
    assert {layer.name for layer in report.layers} == names
    assert {layer.component for layer in report.layers} == set(PARTS.values())


@pytest.mark.parametrize("parametrized", [False, True])
def test_every_optimizer_is_matched_entry_by_entry(tmp_path: Path, parametrized: bool) -> None:
    agent = trained(parametrized=parametrized)
    wanted = {}
    for part in ("actor", "critic1", "critic2"):
        for number, (name, _) in enumerate(getattr(agent, part).named_parameters()):
            wanted[f"{part}.{name}"] = (f"{part}_optimizer", number)
    with Checkpoint(saved(agent, tmp_path)) as checkpoint:
        slots = Facts(checkpoint).coverage.slots
        found = {name: (slot.optimizer, slot.number) for name, (slot,) in slots.items()}
    assert found == wanted


@pytest.mark.slow
@pytest.mark.parametrize("parametrized", [False, True], ids=["hook", "parametrization"])
@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD", "RMSprop"])
@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_one_is_accused_of_nothing(
    tmp_path: Path, seed: int, optimizer: str, parametrized: bool
) -> None:
    agent = trained(seed=seed, optimizer=optimizer, parametrized=parametrized)
    report = scan(saved(agent, tmp_path))
    assert (report.status, report.findings) == ("healthy", ())


@pytest.mark.parametrize("steps", [0, 50])
def test_one_that_was_not_trained_yet_is_accused_of_nothing(tmp_path: Path, steps: int) -> None:
    report = scan(saved(trained(steps), tmp_path))
    assert report.findings == ()
    assert {layer.cause for layer in report.layers} <= {None, "normalisation-init"}


def test_biases_that_were_zeroed_after_training_are_named_so(folder: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(folder / "agent.pt", tmp_path))
    lost = zeroed(path, "actor", "critic1")
    report = scan(path)
    causes = {layer.name: layer.cause for layer in report.layers if layer.cause is not None}
    assert causes == dict.fromkeys(lost, "reset-after-training")
    (finding,) = (found for found in report.findings if found.rule == "SD205")
    assert set(finding.tensors) == lost.keys()


def test_a_frozen_actor_is_named_with_its_cause(tmp_path: Path) -> None:
    report = scan(saved(trained(prepare=OwnSAC.freeze_actor), tmp_path))
    (finding,) = report.findings
    assert (finding.rule, finding.severity) == ("SD203", "warning")
    agent = OwnSAC(Settings())
    assert set(finding.tensors) == {f"actor.{name}" for name, _ in agent.actor.named_parameters()}
    assert "actor_optimizer has no moments at all, while others had 116 updates" in finding.evidence


def test_an_actor_whose_trunk_was_left_out_is_named_with_its_cause(tmp_path: Path) -> None:
    report = scan(saved(trained(prepare=OwnSAC.leave_trunk_out), tmp_path))
    (finding,) = report.findings
    assert (finding.rule, finding.severity) == ("SD202", "critical")
    trunk = OwnSAC(Settings()).actor.trunk
    assert set(finding.tensors) == {f"actor.trunk.{name}" for name, _ in trunk.named_parameters()}
    assert "self.optimizer_class" not in (finding.remedy or "")


def test_its_class_is_named_to_who_asks_what_loading_runs(folder: Path, run: Run) -> None:
    outcome = run("scan", "--select", "SD6", folder / "agent.pt")
    assert outcome.code == 1
    assert "makes an object of fixtures.own_agent.Settings" in outcome.out
    trusted = run("scan", "--select", "SD6", "--trust", "fixtures.own_agent", folder / "agent.pt")
    assert trusted.code == 0
    assert "SD602" not in run("scan", folder / "agent.pt").out


# -- what is done for it -----------------------------------------------------------------------


def test_a_repaired_copy_loads_into_its_own_class_and_trains_on(
    folder: Path, tmp_path: Path, run: Run
) -> None:
    path = Path(shutil.copy(folder / "agent.pt", tmp_path))
    lost = zeroed(path, "actor", "critic1")
    run("fix", path)
    copy = tmp_path / "agent_FIXED.pt"
    agent = OwnSAC.load(copy)
    redrawn = [name for name in lost if name != "actor.trunk.1.bias"]  # a normalisation's
    before = {name: _parameter(agent, name).clone() for name in redrawn}
    assert all(bool((value != 0).all()) for value in before.values())
    agent.learn(80)
    assert all(bool((_parameter(agent, name) != before[name]).any()) for name in redrawn)


def test_a_copy_of_a_repair_differs_in_what_was_repaired_alone(
    folder: Path, tmp_path: Path, run: Run
) -> None:
    path = Path(shutil.copy(folder / "agent.pt", tmp_path))
    lost = zeroed(path, "critic1")
    run("fix", path)
    before, after = (
        th.load(tmp_path / name, weights_only=False) for name in ("agent.pt", "agent_FIXED.pt")
    )
    assert before.keys() == after.keys()
    for key in before.keys() - {"critic1", "critic1_optimizer"}:
        assert _same(before[key], after[key])
    changed = {
        f"critic1.{name}"
        for name in before["critic1"]
        if not th.equal(before["critic1"][name], after["critic1"][name])
    }
    assert changed == lost.keys()
    _assert_other_members_are_equal(tmp_path, len(lost))


def test_a_donor_gives_back_what_was_lost(folder: Path, tmp_path: Path, run: Run) -> None:
    path = Path(shutil.copy(folder / "agent.pt", tmp_path))
    lost = zeroed(path, "actor")
    assert run("fix", path, "--donor", folder / "agent.pt").code == 0
    agent = OwnSAC.load(tmp_path / "agent_FIXED.pt")
    assert all(th.equal(_parameter(agent, name), value) for name, value in lost.items())


def test_its_target_gives_back_what_its_critic_lost(folder: Path, tmp_path: Path, run: Run) -> None:
    path = Path(shutil.copy(folder / "agent.pt", tmp_path))
    zeroed(path, "critic1")
    assert run("fix", path, "--donor", "target").code == 0
    agent = OwnSAC.load(tmp_path / "agent_FIXED.pt")
    assert th.equal(agent.critic1.net[0].bias, agent.critic1_target.net[0].bias)


def test_completing_its_optimizers_is_refused_in_a_line(tmp_path: Path, run: Run) -> None:
    path = saved(trained(prepare=OwnSAC.leave_trunk_out), tmp_path)
    outcome = run("fix", path, "--complete-optimizer")
    assert outcome.code == 2
    assert "does not follow" in outcome.complaint


def test_two_states_are_compared(folder: Path, run: Run) -> None:
    early = folder / f"agent_{STEPS // 2}_steps.pt"
    outcome = run("diff", early, folder / "agent.pt", "--format", "json")
    document = json.loads(outcome.out)
    assert {part["file"] for part in document["optimizer"]} == {
        *("actor_optimizer", "critic1_optimizer", "critic2_optimizer", "alpha_optimizer")
    }
    assert {"key": "num_timesteps", "before": STEPS // 2, "after": STEPS} in document["settings"]


def test_its_checkpoints_have_a_history(folder: Path, tmp_path: Path, run: Run) -> None:
    shutil.copy(folder / f"agent_{STEPS // 2}_steps.pt", tmp_path)
    later = Path(shutil.copy(folder / "agent.pt", tmp_path / f"agent_{STEPS}_steps.pt"))
    document = json.loads(run("history", tmp_path, "--format", "json").out)
    assert len(document["series"]) == 1
    assert document["findings"] == []
    found = [(one["num_timesteps"], one["status"]) for one in document["checkpoints"]]
    assert found == [(STEPS // 2, "healthy"), (STEPS, "healthy")]
    zeroed(later, "critic1")
    outcome = run("history", tmp_path)
    assert outcome.code == 1
    assert "came up between 450 and 900 steps" in outcome.out


def _parameter(agent: OwnSAC, name: str) -> th.Tensor:
    part, _, rest = name.partition(".")
    found: th.Tensor = getattr(agent, part).get_parameter(rest).detach()
    return found


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, th.Tensor):
        return th.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _assert_other_members_are_equal(folder: Path, repaired: int) -> None:
    """A storage for each repaired bias, and for its two moments and its step."""
    with (
        zipfile.ZipFile(folder / "agent.pt") as before,
        zipfile.ZipFile(folder / "agent_FIXED.pt") as after,
    ):
        names = before.namelist()
        assert [name.partition("/")[2] for name in names] == [
            name.partition("/")[2] for name in after.namelist()
        ]
        differing = [
            n
            for n, m in zip(names, after.namelist(), strict=True)
            if before.read(n) != after.read(m)
        ]
    assert len(differing) == 4 * repaired
    assert all("/data/" in name for name in differing)


# -- files that would do harm ------------------------------------------------------------------


def test_what_would_do_harm_is_named_beside_what_is_healthy(
    folder: Path, tmp_path: Path, run: Run
) -> None:
    mark = tmp_path / "mark"
    content = th.load(folder / "agent.pt", weights_only=False)
    th.save({**content, "extra": Calls(os.system, f"touch {mark}")}, tmp_path / "agent.pt")
    for options in ((), ("--select", "SD6")):
        outcome = run("scan", tmp_path / "agent.pt", *options)
        assert outcome.code == 1
        assert "SD601" in outcome.out and "calls posix.system" in outcome.out
    assert len(scan(tmp_path / "agent.pt").layers) == len(scan(folder / "agent.pt").layers)
    assert not mark.exists()


def test_a_function_that_is_called_is_a_warning_in_any_scan(folder: Path, tmp_path: Path) -> None:
    content = th.load(folder / "agent.pt", weights_only=False)
    th.save({**content, "extra": Calls(make_own_agent, tmp_path)}, tmp_path / "agent.pt")
    report = scan(tmp_path / "agent.pt")
    assert [finding.rule for finding in report.findings] == ["SD602"]
    assert report.status == "warning"


class Side(enum.Enum):
    LONG = "long"


def test_members_of_enumerations_are_no_finding_of_a_plain_scan(
    folder: Path, tmp_path: Path
) -> None:
    content = th.load(folder / "agent.pt", weights_only=False)
    th.save({**content, "side": Side.LONG, "where": tmp_path}, tmp_path / "agent.pt")
    assert scan(tmp_path / "agent.pt").status == "healthy"
    gate = scan(tmp_path / "agent.pt", ScanOptions(select=("SD6",)))
    assert f"calls {__name__}.Side" in gate.findings[0].evidence
