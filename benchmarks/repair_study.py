"""What a repair gives back: SAC on Pendulum-v1, its biases zeroed, repaired and resumed.

One policy per seed is trained, saved at 80 % and at the end. In the last file the biases are set
to zero, as a fault would; `fix` repairs it in every way it knows. Each result is evaluated at once
and again after `RESUMED` more steps with the replay buffer of the run, the same random seed and the
same starting states in every arm. What is printed depends on seeds and library versions, not on
the machine's speed.

    python benchmarks/repair_study.py [--seeds 5]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev

import gymnasium as gym
import stable_baselines3
import torch as th
from stable_baselines3 import SAC

from sacdoctor.repair import RepairOptions, fix

STEPS, EARLIER, RESUMED = 7_500, 6_000, 1_000
EPISODES = 10
ENVIRONMENT = "Pendulum-v1"
SETTINGS = {
    "learning_rate": 1e-3,  # rl-zoo's for this environment
    "learning_starts": 500,
    "batch_size": 128,
    "buffer_size": 10_000,
    "policy_kwargs": {"net_arch": [64, 64]},
}

EVERYWHERE, ONLINE = "all biases zero", "biases zero, targets alive"
REDRAWN = RepairOptions()
KEEPING = RepairOptions(keep_optimizer=True)
FROM_TARGET = RepairOptions(from_target=True)

ARMS: tuple[tuple[str, str, RepairOptions | None, bool], ...] = (
    ("undamaged", "", None, False),
    ("left as damaged", EVERYWHERE, None, False),
    ("re-drawn, moments cleared", EVERYWHERE, REDRAWN, False),
    ("re-drawn, --keep-optimizer", EVERYWHERE, KEEPING, False),
    ("--donor, checkpoint at 80 %", EVERYWHERE, REDRAWN, True),
    ("left as damaged", ONLINE, None, False),
    ("re-drawn, moments cleared", ONLINE, REDRAWN, False),
    ("--donor target", ONLINE, FROM_TARGET, False),
)
"""What is done, to which damage, with which options, and whether the earlier checkpoint helps.

Target networks hold values only while they live themselves: so `--donor target` is tried where
they were spared. SAC's actor has no target network; there its biases are re-drawn all the same.
"""


def train(seed: int, folder: Path) -> tuple[Path, Path]:
    """The files of a run at 80 % and at its end; the replay buffer lies beside them."""
    model = SAC("MlpPolicy", ENVIRONMENT, seed=seed, device="cpu", **SETTINGS)
    earlier, last = folder / "earlier.zip", folder / "last.zip"
    model.learn(EARLIER)
    model.save(earlier)
    model.learn(STEPS - EARLIER, reset_num_timesteps=False)
    model.save(last)
    model.save_replay_buffer(folder / "buffer.pkl")
    return earlier, last


def damage(source: Path, output: Path, spared: Callable[[str], bool]) -> None:
    """Save the model with its biases at zero; optimizers and all else stay."""
    model = SAC.load(source, device="cpu")
    with th.no_grad():
        for name, parameter in model.policy.named_parameters():
            if "bias" in name and not spared(name):
                parameter.zero_()
    model.save(output)


def evaluate(model: SAC) -> float:
    """Mean return over the same starting states for every model."""
    env = gym.make(ENVIRONMENT)
    returns = []
    for episode in range(EPISODES):
        observation, _ = env.reset(seed=10_000 + episode)
        total, done = 0.0, False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            done = terminated or truncated
        returns.append(total)
    return mean(returns)


def resume(path: Path, buffer: Path, seed: int) -> tuple[float, float]:
    """Return at once and after training on."""
    model = SAC.load(path, env=gym.make(ENVIRONMENT), device="cpu")
    model.load_replay_buffer(buffer)
    at_once = evaluate(model)
    model.set_random_seed(1_000 + seed)
    model.learn(RESUMED, reset_num_timesteps=False)
    return at_once, evaluate(model)


def one_seed(seed: int, folder: Path) -> list[tuple[float, float]]:
    """Both returns of every arm."""
    earlier, last = train(seed, folder)
    damaged = {"": last, EVERYWHERE: folder / "everywhere.zip", ONLINE: folder / "online.zip"}
    damage(last, damaged[EVERYWHERE], lambda name: False)
    damage(last, damaged[ONLINE], lambda name: "_target." in name)
    results = []
    for number, (_, harm, options, use_earlier) in enumerate(ARMS):
        path = damaged[harm]
        if options is not None:
            output = folder / f"arm{number}.zip"
            fix(path, output=output, options=options, donor=earlier if use_earlier else None)
            path = output
        results.append(resume(path, folder / "buffer.pkl", seed))
    return results


def spread(values: list[float]) -> str:
    """Mean and standard deviation over the seeds."""
    return f"{mean(values):,.0f} ± {stdev(values) if len(values) > 1 else 0.0:,.0f}"


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    th.set_num_threads(1)  # sums in one order on every machine
    runs = []
    for seed in range(seeds):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            runs.append(one_seed(seed, Path(folder)))
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
    print(
        f"\nSAC on {ENVIRONMENT}, {STEPS:,} steps, then {RESUMED:,} more; mean return over "
        f"{EPISODES} episodes, mean ± standard deviation over {seeds} seeds. "
        f"SB3 {stable_baselines3.__version__}, PyTorch {th.__version__.partition('+')[0]}.\n"
    )
    print("| damage | repair | return at once | after resuming | median of these |")
    print("| --- | --- | ---: | ---: | ---: |")
    for number, (what, harm, _, _) in enumerate(ARMS):
        at_once, later = zip(*(run[number] for run in runs), strict=True)
        figures = (spread([*at_once]), spread([*later]), f"{median(later):,.0f}")
        print(f"| {harm or 'none'} | {what} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
