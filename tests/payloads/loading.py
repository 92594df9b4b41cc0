"""Loads files as a user would, each in a process of its own, and tells which made their mark.

`python -m tests.payloads.loading` reads a job from each line of its input, as JSON: the file, the
loader, the mark. SB3 is imported once, and loads sound files once (much is imported when it is
first used); every job is a fork of that process, so that nothing that a payload changes reaches the
next, and a crash ends one job.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.payloads.calls import Marks

SECONDS = 20
"""After which a job is ended."""


@dataclass(frozen=True)
class Job:
    path: Path
    loader: str
    mark: Marks


@dataclass(frozen=True)
class Loaded:
    """What became of a job: whether its mark was made, and how it ended."""

    ran: bool
    ending: str

    @property
    def did_harm(self) -> bool:
        """Whether anything happened that reading a file must not do; a crash is such a thing."""
        return self.ran or self.ending.startswith("died")


def load_all(
    jobs: Iterable[Job], folder: Path, sound: Mapping[str, Path]
) -> Iterator[tuple[Job, Loaded]]:
    """Run jobs in one child process that works in `folder`; `sound` has a file for each loader."""
    jobs = list(jobs)
    told = [{"path": str(path), "loader": loader} for loader, path in sound.items()]
    told += [{"path": str(job.path), "loader": job.loader, "mark": job.mark.path} for job in jobs]
    lines = "".join(f"{json.dumps(one)}\n" for one in told)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "tests.payloads.loading"],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(jobs)
    for job, result in zip(jobs, results, strict=True):
        yield job, Loaded(**result)


# -- in the child ----------------------------------------------------------------------------------


def loaders() -> dict[str, Callable[[str], Any]]:
    """What a user calls with a file."""
    import gymnasium
    import torch
    from stable_baselines3 import PPO, SAC
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=8, device="cpu")

    def buffer(path: str) -> None:
        model.load_replay_buffer(path)

    def statistics(path: str) -> None:
        VecNormalize.load(path, DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]))

    def as_before(path: str) -> None:
        """As SB3 did before PyTorch could be told to load weights alone."""
        present = torch.load

        def load(*args: Any, **kwargs: Any) -> Any:
            return present(*args, **{**kwargs, "weights_only": False})

        torch.load = load
        try:
            SAC.load(path, device="cpu")
        finally:
            torch.load = present

    def in_a_row(path: str) -> None:
        with Path(path).open("rb") as file:
            while True:
                pickle.load(file)

    return {
        "SAC.load": lambda path: SAC.load(path, device="cpu"),
        "SAC.load and a draw": lambda path: SAC.load(path, device="cpu").action_space.sample(),
        "PPO.load": lambda path: PPO.load(path, device="cpu"),
        "SAC.load, older": as_before,
        "load_replay_buffer": buffer,
        "VecNormalize.load": statistics,
        "torch.load": torch.load,
        "torch.load, all": functools.partial(torch.load, weights_only=False),
        "pickle.load in a row": in_a_row,
    }


def main() -> None:
    warnings.simplefilter("ignore")
    known = loaders()
    for line in sys.stdin.read().splitlines():
        job = json.loads(line)
        if "mark" not in job:
            known[job["loader"]](job["path"])
            continue
        mark = Marks(job["mark"])
        os.environ["SACDOCTOR_MARK"] = mark.path  # for what an import does
        ending = _forked(functools.partial(known[job["loader"]], job["path"]))
        print(json.dumps({"ran": mark.is_there, "ending": ending}), flush=True)
        mark.remove()


def _forked(load: Callable[[], Any]) -> str:
    """Return how a load in a process of its own ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(SECONDS)
        silent = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(silent, standard)
        told = "loaded"
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                load()
        except BaseException as error:
            told = f"{type(error).__name__}: {error}"[:300]
        with contextlib.suppress(BaseException):
            os.write(writing, told.encode(errors="replace"))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"died: signal {os.WTERMSIG(status)}"
    return told


if __name__ == "__main__":
    main()
