"""A run's folder in: its checkpoints in order, when findings came up, what its logs say."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.logger import configure

from sacdoctor import SacdoctorError, ScanOptions, fix, read_history, scan
from sacdoctor.history import History, Onset, Run, read
from tests.archives import write_sb3
from tests.runs import CRASH, DEAD, EPISODE, EVERY, STEPS, Runs, strip_optimizers


def only(history: History) -> Run:
    (run,) = history.runs
    return run


def steps(run: Run) -> list[int | None]:
    return [snapshot.timesteps for snapshot in run.snapshots]


def found(onset: Onset) -> tuple[str, tuple[str, ...], int | None, int, int | None]:
    span = onset.after_timesteps, onset.by_timesteps, onset.until_timesteps
    return onset.rule, onset.tensors, *span


def test_a_run_keeps_all_tensors_of_its_last_checkpoint(runs: Runs) -> None:
    """And of those in trouble the cause that the run alone proves."""
    run = only(read_history(runs("frozen")))
    own = scan(run.snapshots[-1].report.path)
    assert [layer.name for layer in run.layers] == [layer.name for layer in own.layers]
    judged = {layer.name: layer for layer in run.snapshots[-1].report.layers}
    assert all(layer == judged.get(layer.name, layer) for layer in run.layers)


def test_a_curve_says_when_its_returns_were_and_of_which_run_they_are(runs: Runs) -> None:
    """`tests.runs` plays episodes of 10 steps: 100 of them, of which 60 points are kept."""
    history = read_history(runs("crash"))
    (curve,) = history.curves
    assert (curve.episodes, len(curve.points), len(curve.timesteps)) == (100, 60, 60)
    assert (curve.timesteps[0], curve.timesteps[-1]) == (15, STEPS)  # medians of two, and of one
    assert curve.run == only(history).name


# -- healthy runs: nothing ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["healthy SAC", "healthy PPO", "tensorboard"])
@pytest.mark.parametrize("optimizers", ["whole", "stripped"])
def test_healthy_run_has_nothing(runs: Runs, tmp_path: Path, kind: str, optimizers: str) -> None:
    """PPO's first checkpoint is from before the first update: its biases are all zero."""
    folder = runs.copy(kind, tmp_path / "run")
    if optimizers == "stripped":
        strip_optimizers(folder)
    history = read_history(folder)
    assert history.statuses == {"healthy"}
    assert only(history).onsets == only(history).findings == ()
    assert (history.crashes, history.unreadable) == ((), ())
    # Of the run without a Monitor's log there is the mean of 100 episodes in rows of 5.
    few = "20 rows are too few to judge the reward (40 are needed)"
    assert [note.message for note in history.notes] == ([few] if kind == "tensorboard" else [])


def test_model_that_is_never_updated_stays_a_warning(runs: Runs, tmp_path: Path) -> None:
    shutil.copy(runs("healthy PPO") / "rl_model_0_steps.zip", tmp_path)
    history = read_history(tmp_path)
    assert history.statuses == {"warning"}
    assert {onset.rule for onset in only(history).onsets} == {"SD201"}


# -- the checkpoints ---------------------------------------------------------------------------


def test_order_is_that_of_the_steps_inside(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("healthy SAC", tmp_path / "run")
    (folder / "rl_model_300_steps.zip").rename(folder / "zz_best.zip")
    (folder / "rl_model_1000_steps.zip").rename(folder / "a_final.zip")
    run = only(read_history(folder))
    assert steps(run) == list(range(EVERY, STEPS + 1, EVERY))
    names = [Path(snapshot.report.path).name for snapshot in run.snapshots]
    assert (names[2], names[-1]) == ("zz_best.zip", "a_final.zip")


def test_same_state_saved_twice_is_said_to_be_a_copy(runs: Runs, tmp_path: Path) -> None:
    """It is no checkpoint at which nothing moved: the change is that up to the next state."""
    folder = runs.copy("healthy SAC", tmp_path / "run")
    before = only(read_history(folder))
    original = folder / "rl_model_500_steps.zip"
    for name in ("rl_model_500_steps_again.zip", "rl_model_500_steps_best.zip"):
        SAC.load(original, device="cpu").save(folder / name)
    run = only(read_history(folder))
    copies = [s.copy_of for s in run.snapshots if s.copy_of is not None]
    assert copies == [str(original)] * 2
    rest = [s for s in run.snapshots if s.copy_of is None]
    assert [s.norms for s in rest] == [s.norms for s in before.snapshots]
    assert [s.update_norm for s in rest] == [s.update_norm for s in before.snapshots]
    assert run.onsets == run.findings == ()


def test_update_norm_is_that_of_one_update(runs: Runs) -> None:
    """SAC with `train_freq` 4 makes 25 updates in the 100 steps between two checkpoints."""
    snapshot = only(read_history(runs("healthy SAC"))).snapshots[4]
    assert snapshot.updates_since == 25
    assert snapshot.norms.update is not None
    assert snapshot.update_norm == snapshot.norms.update / 25


def test_network_that_stands_still_is_named(runs: Runs) -> None:
    """The actor is frozen at step 450, and the critic learns on."""
    run = only(read_history(runs("frozen actor")))
    assert [snapshot.still for snapshot in run.snapshots] == [()] * 5 + [("actor",)] * 5
    assert [s.component_norms["actor"].update for s in run.snapshots[5:]] == [0.0] * 5
    healthy = only(read_history(runs("healthy SAC")))
    assert all(snapshot.still == () for snapshot in healthy.snapshots)


def test_what_is_not_finite_is_counted(runs: Runs) -> None:
    snapshots = only(read_history(runs("nan"))).snapshots
    counts = [snapshot.norms.non_finite for snapshot in snapshots]
    model = SAC.load(snapshots[-1].report.path, device="cpu")
    parameters = [*model.actor.parameters(), *model.critic.parameters()]
    assert counts == [0] * 9 + [sum(int((~p.isfinite()).sum()) for p in parameters)]


def test_norms_are_those_of_pytorch(runs: Runs) -> None:
    run = only(read_history(runs("healthy SAC")))
    models = [
        SAC.load(runs("healthy SAC") / f"rl_model_{step}_steps.zip", device="cpu")
        for step in (400, 500)
    ]
    vectors = [
        th.cat([p.reshape(-1) for p in (*m.actor.parameters(), *m.critic.parameters())]).double()
        for m in models
    ]
    snapshot = run.snapshots[4]
    assert snapshot.timesteps == 500
    assert snapshot.norms.weight == pytest.approx(vectors[1].norm().item(), rel=1e-6)
    assert snapshot.norms.update == pytest.approx((vectors[1] - vectors[0]).norm().item(), rel=1e-6)
    target = th.cat([p.reshape(-1) for p in models[1].critic_target.parameters()])
    part = snapshot.component_norms["critic target"]
    assert part.weight == pytest.approx(target.norm().item(), rel=1e-6)
    assert run.snapshots[0].norms.update is None


def test_entropy_coefficient_and_rates_are_the_models(runs: Runs) -> None:
    snapshot = only(read_history(runs("crash"))).snapshots[-1]
    model = SAC.load(snapshot.report.path, device="cpu")
    assert model.log_ent_coef is not None
    assert snapshot.entropy_coefficient == pytest.approx(math.exp(model.log_ent_coef.item()))
    assert snapshot.report.optimizer_learning_rates["actor.optimizer"] == 5e-3
    assert snapshot.learning_starts == 100


def test_gradient_norm_is_adams_estimate(runs: Runs) -> None:
    snapshot = only(read_history(runs("healthy PPO"))).snapshots[-1]
    state = PPO.load(snapshot.report.path, device="cpu").policy.optimizer.state_dict()["state"]
    total = sum(
        s["exp_avg_sq"].sum().item() / (1 - 0.999 ** s["step"].item()) for s in state.values()
    )
    assert snapshot.gradient_norms["policy.optimizer"] == pytest.approx(math.sqrt(total), rel=1e-4)


@pytest.mark.parametrize(("open_files", "at_once"), [(0, 2), (4, 6), (read.MOST_OPEN, 10)])
def test_as_many_files_are_open_as_may_be(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, open_files: int, at_once: int
) -> None:
    """Of the run's ten: those that are kept, and two that are looked at; all are closed again."""
    from sacdoctor.checkpoint import Checkpoint

    is_open: set[int] = set()
    most = 0
    opened, closed = Checkpoint.__init__, Checkpoint.close

    def count(self: Checkpoint, path: Path, *whole: int) -> None:
        nonlocal most
        opened(self, path, *whole)
        is_open.add(id(self))
        most = max(most, len(is_open))

    def discount(self: Checkpoint) -> None:
        is_open.discard(id(self))
        closed(self)

    monkeypatch.setattr(Checkpoint, "__init__", count)
    monkeypatch.setattr(Checkpoint, "close", discount)
    monkeypatch.setattr(read, "MOST_OPEN", open_files)
    read_history(runs("healthy SAC"))
    assert most <= at_once
    assert is_open == set()


def test_repaired_copy_is_shown_and_not_compared(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("dead bias", tmp_path / "run")
    before = only(read_history(folder))
    fix(folder / "rl_model_700_steps.zip")
    after = only(read_history(folder))
    assert [s.is_repaired for s in after.snapshots].count(True) == 1
    assert after.onsets == before.onsets
    assert [s.norms for s in after.snapshots if not s.is_repaired] == [
        s.norms for s in before.snapshots
    ]


# -- onsets ------------------------------------------------------------------------------------


def test_bias_that_was_zeroed_at_step_450_came_up_between_400_and_500(runs: Runs) -> None:
    onsets = only(read_history(runs("dead bias"))).onsets
    assert {found(onset) for onset in onsets} == {
        ("SD101", (DEAD,), 400, 500, None),
        ("SD205", (DEAD,), 400, 500, None),
    }


def test_nan_of_the_last_step_came_up_in_the_last_interval(runs: Runs) -> None:
    onsets = only(read_history(runs("nan"))).onsets
    assert [found(onset) for onset in onsets] == [
        ("SD301", ("critic.qf0.0.weight",), STEPS - EVERY, STEPS, None)
    ]


def test_finding_that_comes_back_has_two_onsets(tmp_path: Path) -> None:
    for number, value in enumerate((0.5, 0.0, 0.0, 0.5, 0.0)):
        tensors = {**state(0.1 * number), "actor.mu.bias": th.full((2,), value)}
        write_sb3(tmp_path / f"m_{number}.zip", tensors, {"num_timesteps": 1_000 * number})
    onsets = only(read_history(tmp_path)).onsets
    assert [found(onset) for onset in onsets] == [
        ("SD101", ("actor.mu.bias",), 0, 1_000, 3_000),
        ("SD101", ("actor.mu.bias",), 3_000, 4_000, None),
    ]


def test_finding_of_the_first_checkpoint_has_no_step_before(runs: Runs, tmp_path: Path) -> None:
    for step in (500, 600):
        shutil.copy(runs("dead bias") / f"rl_model_{step}_steps.zip", tmp_path)
    onsets = only(read_history(tmp_path)).onsets
    assert {found(onset)[2:] for onset in onsets} == {(None, 500, None)}


def test_checkpoint_without_optimizers_does_not_end_what_they_showed(
    runs: Runs, tmp_path: Path
) -> None:
    folder = runs.copy("dead bias", tmp_path / "run")
    strip_optimizers(folder, "rl_model_700_steps.zip", "rl_model_1000_steps.zip")
    onsets = [onset for onset in only(read_history(folder)).onsets if onset.rule == "SD205"]
    assert [found(onset) for onset in onsets] == [("SD205", (DEAD,), 400, 500, None)]


def test_rules_can_be_selected(runs: Runs) -> None:
    history = read_history(runs("dead bias"), ScanOptions(select=("SD3",)))
    assert (only(history).onsets, history.statuses) == ((), {"healthy"})


def test_bias_that_was_alive_before_was_reset_also_without_optimizers(
    runs: Runs, tmp_path: Path
) -> None:
    folder = runs.copy("dead bias", tmp_path / "run")
    strip_optimizers(folder)
    run = only(read_history(folder))
    assert causes(run) == [{}] * 4 + [{DEAD: "reset-after-training"}] * 6
    assert "rl_model_400_steps.zip" in (run.snapshots[-1].report.layers[0].evidence or "")


# -- tensors that never move -------------------------------------------------------------------

BRANCH = {
    f"features_extractor.branch.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")
}
BIASES = {name for name in BRANCH if name.endswith("bias")}


def causes(run: Run) -> list[dict[str, str | None]]:
    return [{layer.name: layer.cause for layer in s.report.layers} for s in run.snapshots]


def test_late_layers_are_found_without_any_optimizer(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("late layers", tmp_path / "run")
    strip_optimizers(folder)
    run = only(read_history(folder))
    (finding,) = run.findings
    assert (finding.rule, finding.severity) == ("SD207", "critical")
    assert set(finding.tensors) == BRANCH
    assert all(of == dict.fromkeys(BIASES, "never-updated") for of in causes(run))
    (evidence,) = {layer.evidence for layer in run.snapshots[-1].report.layers}
    assert evidence is not None
    # 38 = 19 updated rollouts of 2 epochs; the other 10 are trunk, policy, value (weight, bias).
    assert "all 11 checkpoints from 0 to 1,000 timesteps (38 updates)" in evidence
    assert "10 of the 13 other weights and biases moved" in evidence


def test_one_checkpoint_with_its_optimizer_proves_the_cause(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("late layers", tmp_path / "run")
    kept = "rl_model_300_steps.zip"
    strip_optimizers(folder, *(p.name for p in folder.glob("*.zip") if p.name != kept))
    run = only(read_history(folder))
    assert run.findings == ()  # SD202 says it
    assert causes(run)[-1] == dict.fromkeys(BIASES, "not-in-optimizer")
    assert all(kept in (layer.evidence or "") for layer in run.snapshots[-1].report.layers)


def test_frozen_layers_are_a_notice(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("frozen", tmp_path / "run")
    strip_optimizers(folder)
    history = read_history(folder)
    (finding,) = only(history).findings
    assert (set(finding.tensors), finding.severity) == (BRANCH, "notice")
    assert history.statuses == {"healthy", "notice"}


def state(
    moved: float, *, still: float = 0.0, dtype: th.dtype = th.float32
) -> dict[str, th.Tensor]:
    return {
        "actor.mu.weight": th.full((2, 3), 1.0 + moved),
        "actor.mu.bias": th.full((2,), 0.5, dtype=dtype),
        "actor.log_std": th.full((2,), -1.0),
        "actor.norm.running_mean": th.zeros(2),
        "critic.qf0.0.weight": th.full((2, 3), 2.0 + still),
        "critic.qf0.0.bias": th.full((2,), 2.0),
        "critic_target.qf0.0.weight": th.full((2, 3), 2.0),
        "critic_target.qf0.0.bias": th.full((2,), 2.0),
    }


@pytest.mark.parametrize(
    ("updates", "still", "dtype", "expected"),
    [
        ((100, 200), 0.0, th.float32, ["actor.mu.bias"]),
        ((100, 200), 0.1, th.float32, ["actor.mu.bias", "critic.qf0.0.bias"]),
        ((100, 101), 0.1, th.float32, []),
        ((100, 100), 0.1, th.float32, []),
        ((None, None), 0.1, th.float32, []),
        ((100, 200), 0.1, th.bfloat16, ["critic.qf0.0.bias"]),
    ],
    ids=["critic waits", "both move", "one update", "no update", "no counter", "half precision"],
)
def test_only_weights_and_biases_beside_others_that_moved_are_accused(
    tmp_path: Path,
    updates: tuple[int | None, int | None],
    still: float,
    dtype: th.dtype,
    expected: list[str],
) -> None:
    for number, count in enumerate(updates):
        settings = {"num_timesteps": 1_000 * number, "target_entropy": -2.0, "_n_updates": count}
        tensors = state(0.1 * number, still=still * number, dtype=dtype)
        write_sb3(tmp_path / f"m_{number}.zip", tensors, settings)
    found = only(read_history(tmp_path)).findings
    findings = [finding for finding in found if finding.rule == "SD207"]
    assert [name for finding in findings for name in finding.tensors] == expected
    assert all(finding.severity == "notice" for finding in findings)


# -- several runs, damaged files ---------------------------------------------------------------


def test_runs_of_other_shapes_other_prefix_or_other_folder_are_told_apart(
    runs: Runs, tmp_path: Path
) -> None:
    folder = runs.copy("healthy SAC", tmp_path / "run")
    for step in (100, 200):
        source = runs("dead bias") / f"rl_model_{step}_steps.zip"
        shutil.copy(source, folder / f"second_{step}_steps.zip")
        shutil.copy(runs("healthy PPO") / f"rl_model_{step}_steps.zip", folder / f"ppo_{step}.zip")
    (folder / "best").mkdir()
    (folder / "rl_model_300_steps.zip").rename(folder / "best" / "best_model.zip")
    found = {run.name: (run.algorithm, steps(run)) for run in read_history(folder).runs}
    assert found == {
        "rl_model_*_steps.zip": ("SAC", list(range(100, 1001, 100))),
        "second_*_steps.zip": ("SAC", [100, 200]),
        "ppo_*.zip": ("PPO", [100, 200]),
    }


def test_two_trainings_over_the_same_steps_are_two_runs(runs: Runs, tmp_path: Path) -> None:
    for step in (100, 300):
        shutil.copy(runs("healthy SAC") / f"rl_model_{step}_steps.zip", tmp_path)
    shutil.copy(runs("dead bias") / "rl_model_200_steps.zip", tmp_path)
    found = read_history(tmp_path).runs  # in the order in which they were trained
    assert sorted(map(steps, found)) == [[100, 300], [200]]
    assert [run.name for run in found] == ["rl_model_*_steps.zip", "rl_model_*_steps.zip (2)"]


def test_half_written_checkpoint_is_named_and_the_rest_shown(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("healthy SAC", tmp_path / "run")
    half = folder / "rl_model_500_steps.zip"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    history = read_history(folder)
    assert [report.path for report in history.unreadable] == [str(half)]
    assert steps(only(history)) == [step for step in range(100, 1001, 100) if step != 500]
    assert "error" in history.statuses


def test_damaged_optimizer_is_named_and_the_rest_shown(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("healthy SAC", tmp_path / "run")
    damaged = folder / "rl_model_500_steps.zip"
    data = bytearray(damaged.read_bytes())
    at = data.index(b"critic.optimizer.pth")
    data[at + 4_000] ^= 0xFF
    damaged.write_bytes(data)
    history = read_history(folder)
    assert [report.path for report in history.unreadable] == [str(damaged)]
    assert len(only(history).snapshots) == 9


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "no checkpoints"),
        (lambda path: path.write_text("x"), "no folder"),
    ],
)
def test_nothing_to_read_is_an_error(tmp_path: Path, make, words: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "run")
    with pytest.raises(SacdoctorError, match=words):
        read_history(tmp_path / "run")


# -- logs --------------------------------------------------------------------------------------


def test_crash_is_told_with_episode_step_and_what_came_before(runs: Runs) -> None:
    (crash,) = read_history(runs("crash")).crashes
    assert (crash.episode, crash.timesteps) == (CRASH, (CRASH + 1) * EPISODE)
    returns = np.loadtxt(runs("crash") / "monitor.csv", delimiter=",", skiprows=2)[:, 0]
    assert crash.before == pytest.approx(np.median(returns[CRASH - 10 : CRASH]))
    assert crash.after == pytest.approx(np.median(returns[CRASH : CRASH + 10]))
    rate, onset = crash.events if crash.events[0].by_timesteps < 600 else crash.events[::-1]
    assert "learning rate went from 0.0003 to 0.005" in rate.name
    assert 580 <= rate.after_timesteps < rate.by_timesteps <= 600
    assert (onset.after_timesteps, onset.by_timesteps) == (500, 600)
    assert crash.values["train/learning_rate"] == 5e-3
    assert {"train/ent_coef", "train/critic_loss", "train/actor_loss"} <= set(crash.values)


def write_means(folder: Path, format: str, episodes: int, crash: int) -> None:
    """As SB3 logs it: the mean of the last 100 episodes, of 10 steps each, every 40 steps."""
    returns = np.where(np.arange(episodes) < crash, 0.0, -100.0)
    returns += np.random.default_rng(0).normal(0.0, 5.0, episodes)
    logger = configure(str(folder), [format])
    for end in range(4, episodes + 1, 4):
        logger.record("time/total_timesteps", 10 * end, exclude="tensorboard")
        logger.record("rollout/ep_rew_mean", returns[max(0, end - 100) : end].mean())
        logger.record("rollout/ep_len_mean", 10.0)
        logger.dump(10 * end)
    logger.close()


@pytest.mark.parametrize("format", ["csv", "tensorboard"])
@pytest.mark.parametrize(("episodes", "crash"), [(300, 150), (600, 300)])
def test_crash_shows_in_the_running_mean_too(
    tmp_path: Path, format: str, episodes: int, crash: int
) -> None:
    write_means(tmp_path, format, episodes, crash)
    (found,) = read_history(tmp_path).crashes
    assert found.episode is None
    assert 10 * crash < found.timesteps <= 10 * crash + 120
    assert (found.before, found.after) == (pytest.approx(0, abs=3), pytest.approx(-100, abs=3))


def test_crash_in_several_logs_is_one(tmp_path: Path) -> None:
    """The tables of one training, and the logs of its environments, which count their own steps."""
    for name in ("table", "again"):
        (tmp_path / name).mkdir()
        write_means(tmp_path / name, "csv", 600, 300)
    (crash,) = read_history(tmp_path).crashes
    assert (crash.log, crash.also_in) == ("again/progress.csv", ("table/progress.csv",))

    draw = np.random.default_rng(0)
    for number in range(4):
        returns = np.where(np.arange(150) < 75, 0.0, -100.0) + draw.normal(0.0, 5.0, 150)
        lines = ["r,l,t", *(f"{value},10,{n}" for n, value in enumerate(returns))]
        (tmp_path / f"env{number}.monitor.csv").write_text("\n".join(lines))
    (crash,) = read_history(tmp_path).crashes
    assert crash.log == "env0.monitor.csv"
    assert crash.also_in == tuple(f"env{number}.monitor.csv" for number in (1, 2, 3))


def test_end_in_a_fall_is_told_by_a_note_or_as_a_crash(tmp_path: Path) -> None:
    """It fell for 40 episodes, came back, and fell again: 60 are too few to tell, 120 suffice."""
    parts = [(20, 60), (400, 60), (9, 40), (400, 80), (9, 120)]
    level = np.concatenate([np.full(count, float(value)) for value, count in parts])
    returns = level * np.random.default_rng(9).gamma(4, 0.25, len(level))
    lines = ["r,l,t", *(f"{value},10,{n}" for n, value in enumerate(returns))]
    log = tmp_path / "monitor.csv"

    log.write_text("\n".join(lines[:-60]))
    history = read_history(tmp_path)
    (note,) = history.notes
    assert history.crashes == () and note.path == str(log)
    assert note.message.startswith("its last 60 episodes have lost most of what was learned")

    log.write_text("\n".join(lines))
    history = read_history(tmp_path)
    assert [crash.episode for crash in history.crashes] == [240] and history.notes == ()


def test_crashes_between_other_levels_or_at_other_times_are_several(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name, at, level in (("a", 40, -100.0), ("b", 75, -100.0), ("c", 75, -1_000.0)):
        returns = np.where(np.arange(150) < at, 0.0, level) + draw.normal(0.0, 5.0, 150)
        lines = ["r,l,t", *(f"{value},10,{n}" for n, value in enumerate(returns))]
        (tmp_path / f"{name}.monitor.csv").write_text("\n".join(lines))
    assert len(read_history(tmp_path).crashes) == 3


@pytest.mark.parametrize(("episodes", "rows"), [(4, "1 row is"), (176, "44 rows are"), (180, None)])
@pytest.mark.parametrize("format", ["csv", "tensorboard"])
def test_running_mean_too_short_to_judge_is_told(
    tmp_path: Path, format: str, episodes: int, rows: str | None
) -> None:
    """Two windows of 10 rows, and between them the 25 rows of 100 episodes."""
    write_means(tmp_path, format, episodes, episodes)
    notes = [(Path(note.path), note.message) for note in read_history(tmp_path).notes]
    path = tmp_path / "progress.csv" if format == "csv" else tmp_path
    few = [(path, f"{rows} too few to judge the reward (45 are needed)")] if rows else []
    assert notes == few


@pytest.mark.parametrize(
    ("episodes", "words"),
    [(0, "0 episodes are"), (1, "1 episode is"), (19, "19 episodes are"), (20, None)],
)
def test_monitor_log_too_short_to_judge_is_told(
    tmp_path: Path, episodes: int, words: str | None
) -> None:
    (tmp_path / "monitor.csv").write_text("\n".join(["r,l,t", *["1.0,10,0.1"] * episodes]))
    notes = [note.message for note in read_history(tmp_path).notes]
    assert notes == ([f"{words} too few to judge the reward (20 are needed)"] if words else [])


def test_empty_monitor_log_does_not_hide_the_running_mean(tmp_path: Path) -> None:
    write_means(tmp_path, "csv", 300, 150)
    (tmp_path / "monitor.csv").write_text('#{"t_start": 0}\nr,l,t\n')
    history = read_history(tmp_path)
    assert [crash.log for crash in history.crashes] == ["progress.csv"]
    assert history.notes == ()


@pytest.mark.parametrize("length", ["nan", "inf", "-10", "1e308", "0"])
def test_garbled_episode_lengths_show_no_crash(tmp_path: Path, length: str) -> None:
    columns = "time/total_timesteps,rollout/ep_rew_mean,rollout/ep_len_mean"
    rows = [f"{40 * row},{row % 7},{length}" for row in range(1, 100)]
    (tmp_path / "progress.csv").write_text("\n".join([columns, *rows]))
    assert read_history(tmp_path).crashes == ()


def test_other_runs_of_the_folder_did_not_cause_a_crash(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("crash", tmp_path / "run")
    shutil.copy(runs("healthy PPO") / "rl_model_600_steps.zip", folder / "ppo.zip")
    (crash,) = read_history(folder).crashes
    assert [event.name for event in crash.events] == ["learning rate went from 0.0003 to 0.005"]


def test_start_of_updates_is_told(runs: Runs, tmp_path: Path) -> None:
    """`learning_starts` is 100, and the first update comes with step 104."""
    for name in ("rl_model_100_steps.zip", "rl_model_200_steps.zip", "progress.csv"):
        shutil.copy(runs("healthy SAC") / name, tmp_path)
    rows = [f"{-5.0 if n < 12 else -100.0 - n % 3},10,{n}" for n in range(40)]
    (tmp_path / "monitor.csv").write_text("\n".join(["r,l,t", *rows]))
    (crash,) = read_history(tmp_path).crashes
    assert (crash.episode, crash.timesteps) == (12, 130)
    events = {event.name: (event.after_timesteps, event.by_timesteps) for event in crash.events}
    assert events["warm-up ended (learning_starts)"] == (100, 100)
    assert events["updates began"] == (100, 110)


def test_rewards_that_are_not_finite_are_told(tmp_path: Path) -> None:
    """They are no garbled rows, and their timesteps count."""
    rows = [
        f"{'nan' if n in (3, 7) else -5.0 if n < 20 else -100.0 - n % 3},10,{n}" for n in range(60)
    ]
    (tmp_path / "monitor.csv").write_text("\n".join(["r,l,t", *rows]))
    history = read_history(tmp_path)
    assert [note.message for note in history.notes] == [
        "2 returns are NaN or infinite, the first at episode 3"
    ]
    (crash,) = history.crashes
    assert (crash.episode, crash.timesteps) == (20, 210)


def test_value_that_was_nan_at_the_time_of_a_crash_is_told(tmp_path: Path) -> None:
    rows = [
        f"{10 * n},{'nan' if n >= 30 else n},{-5.0 if n < 30 else -100.0 - n % 3}"
        for n in range(1, 80)
    ]
    columns = "time/total_timesteps,train/actor_loss,rollout/ep_rew_mean"
    (tmp_path / "progress.csv").write_text("\n".join([columns, *rows]))
    (crash,) = read_history(tmp_path).crashes
    assert math.isnan(crash.values["train/actor_loss"])


def test_logs_alone_are_a_history(runs: Runs, tmp_path: Path) -> None:
    shutil.copy(runs("crash") / "monitor.csv", tmp_path)
    history = read_history(tmp_path)
    assert (history.runs, len(history.crashes), history.statuses) == ((), 1, {"warning"})


def test_truncated_logs_are_read_as_far_as_they_go(runs: Runs, tmp_path: Path) -> None:
    folder = runs.copy("crash", tmp_path / "run")
    for name, garbage in (("monitor.csv", b'"-1.5,\0x\n-3.0,1'), ("progress.csv", b"1,2\n3")):
        with (folder / name).open("ab") as file:
            file.write(garbage)
    history = read_history(folder)
    assert [crash.episode for crash in history.crashes] == [CRASH]
    notes = {Path(note.path).name: note.message for note in history.notes}
    assert notes == dict.fromkeys(
        ("monitor.csv", "progress.csv"), "2 rows are cut off or garbled and left out"
    )
