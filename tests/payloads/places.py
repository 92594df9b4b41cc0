"""Every place in files of SB3 and torch where a pickle stands, each with who loads it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.archives import members_of, zip_of
from tests.payloads import containers
from tests.payloads.assembly import POP, call, data, text, tuple_, whole
from tests.payloads.called import CALLED, CRASHING, statistics
from tests.payloads.calls import CALLS, Marks, Program
from tests.payloads.crashes import CRASHES
from tests.payloads.hiding import HIDING, LOAD, old_torch, torch_zip
from tests.payloads.loading import Job


@dataclass(frozen=True)
class Sound:
    """Sound files of SB3's, into which payloads are put."""

    sac: bytes
    ppo: bytes
    buffer: bytes
    statistics: bytes


@dataclass(frozen=True)
class Payload:
    """A file that does harm: of what kind, where in it the pickle stands, and who loads it."""

    kind: str
    place: str
    path: Path
    mark: Marks
    loaders: tuple[str, ...]

    @property
    def jobs(self) -> list[Job]:
        return [Job(self.path, loader, self.mark) for loader in self.loaders]


@cache
def sound() -> Sound:
    """Return small untrained ones; SB3 is imported for it."""
    import io
    import pickle

    import gymnasium
    from stable_baselines3 import PPO, SAC
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    def saved(model: PPO | SAC) -> bytes:
        out = io.BytesIO()
        model.save(out)
        return out.getvalue()

    sac = SAC(
        "MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]}, buffer_size=8, device="cpu"
    )
    ppo = PPO(
        "MlpPolicy",
        "CartPole-v1",
        policy_kwargs={"net_arch": [4]},
        n_steps=8,
        batch_size=8,
        device="cpu",
    )
    norm = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]))
    assert sac.replay_buffer is not None
    return Sound(saved(sac), saved(ppo), pickle.dumps(sac.replay_buffer, 4), pickle.dumps(norm, 4))


def sound_files(folder: Path) -> dict[str, Path]:
    """Write the sound ones into `folder`; return one for each loader."""
    paths = {}
    for key, ending in (
        ("sac", ".zip"),
        ("ppo", ".zip"),
        ("buffer", ".pkl"),
        ("statistics", ".pkl"),
    ):
        paths[key] = folder / f"sound-{key}{ending}"
        paths[key].write_bytes(getattr(sound(), key))
    paths["torch"] = folder / "sound-torch.pt"
    paths["torch"].write_bytes(members_of(sound().sac)["policy.pth"])
    return {
        "SAC.load": paths["sac"],
        "SAC.load, older": paths["sac"],
        "SAC.load and a draw": paths["sac"],
        "PPO.load": paths["ppo"],
        "load_replay_buffer": paths["buffer"],
        "VecNormalize.load": paths["statistics"],
        "torch.load": paths["torch"],
        "torch.load, all": paths["torch"],
    }


def _serialized(program: bytes) -> dict[str, str]:
    return {":type:": "x", ":serialized:": base64.b64encode(whole(program)).decode()}


def with_settings(model: bytes, **programs: bytes) -> bytes:
    """Return a checkpoint with these programs as settings."""
    members = members_of(model)
    settings = json.loads(members["data"])
    settings |= {key: _serialized(program) for key, program in programs.items()}
    return zip_of({**members, "data": json.dumps(settings).encode()})


def with_member(model: bytes, **changed: bytes) -> bytes:
    members = members_of(model)
    return zip_of({**members, **{key.replace("__", "."): value for key, value in changed.items()}})


def with_state(pickle: bytes, **programs: bytes) -> bytes:
    """Return a pickle of an object whose state, a dict, has more items than its own."""
    assert pickle.endswith(b"b.")
    items = b"".join(text(key) + program + b"s" for key, program in programs.items())
    return pickle[:-2] + items + text("padding") + PADDING + b"sb."


PADDING = data(bytes(70_000))
"""So that no zip that a pickle holds is found at the end of a file, where it alone is refused."""


def alone(program: bytes) -> bytes:
    """Return a pickle of a program and padding."""
    return whole(tuple_(program, PADDING))


def new_torch(program: bytes) -> bytes:
    return torch_zip(whole(program))


_TORCH = ("torch.load, all", "torch.load")
Place = tuple[str, tuple[str, ...], Callable[[bytes], bytes]]
PYTHON_PLACES: dict[str, Place] = {
    "settings": (".zip", ("SAC.load",), lambda p: with_settings(sound().sac, ep_info_buffer=p)),
    "another key of settings": (".zip", ("PPO.load",), lambda p: with_settings(sound().ppo, zz=p)),
    "replay buffer": (".pkl", ("load_replay_buffer",), alone),
    "state of a replay buffer": (
        ".pkl",
        ("load_replay_buffer",),
        lambda p: with_state(sound().buffer, zz=p),
    ),
    "VecNormalize": (
        ".pkl",
        ("VecNormalize.load",),
        lambda p: with_state(sound().statistics, zz=p),
    ),
}
"""Places that Python's own unpickler reads: the file's ending, its loaders, how it is made."""
TORCH_PLACES: dict[str, Place] = {
    "policy": (
        ".zip",
        ("SAC.load, older", "SAC.load"),
        lambda p: with_member(sound().sac, policy__pth=new_torch(p)),
    ),
    "optimizer": (
        ".zip",
        ("SAC.load, older",),
        lambda p: with_member(sound().sac, critic__optimizer__pth=new_torch(p)),
    ),
    "variables": (
        ".zip",
        ("SAC.load, older",),
        lambda p: with_member(sound().sac, pytorch_variables__pth=new_torch(p)),
    ),
    "bare": (".pt", _TORCH, new_torch),
    "nested in settings": (
        ".zip",
        ("SAC.load",),
        lambda p: with_settings(sound().sac, zz=call(LOAD, data(new_torch(p)))),
    ),
    "nested in a replay buffer": (
        ".pkl",
        ("load_replay_buffer",),
        lambda p: with_state(sound().buffer, zz=call(LOAD, data(new_torch(p)))),
    ),
}
"""Those that torch reads, in its present format."""
OLD_PLACES: dict[str, Place] = {
    "old policy": (
        ".zip",
        ("SAC.load, older",),
        lambda p: with_member(sound().sac, policy__pth=old_torch(p)),
    ),
    "old optimizer": (
        ".zip",
        ("SAC.load, older",),
        lambda p: with_member(sound().sac, actor__optimizer__pth=old_torch(p)),
    ),
    "old bare": (".pth", _TORCH, lambda p: old_torch(tuple_(p, PADDING))),
    "nested old": (
        ".zip",
        ("PPO.load",),
        lambda p: with_settings(sound().ppo, zz=call(LOAD, data(old_torch(p)))),
    ),
}
"""The same in the format before PyTorch 1.6."""
_FAMILIES = (PYTHON_PLACES, TORCH_PLACES, OLD_PLACES)


def payloads(folder: Path, each_in: int | None = None) -> Iterator[Payload]:
    """Write the payloads into `folder`, which exists, and yield each.

    `each_in`: in how many places of each reader every program is put, in turn; None: in all.
    """
    writer = _Writer(folder)
    programs: dict[str, Program] = {**CALLS, **HIDING}
    for turn, (kind, program) in enumerate(programs.items()):
        for places in _FAMILIES:
            for place in _in_turn([*places], turn, each_in):
                ending, loaders, make = places[place]
                yield writer.write(
                    kind, place, ending, loaders, lambda mark, f=program, m=make: m(f(mark))
                )
    yield from _of_settings(writer)
    yield from _of_containers(writer)


def _in_turn(places: Sequence[str], turn: int, count: int | None) -> list[str]:
    count = len(places) if count is None else count
    return [places[(turn + step) % len(places)] for step in range(count)]


class _Writer:
    """Numbers files and marks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marks = folder / "marks"
        self.marks.mkdir()
        self.count = 0

    def write(
        self,
        kind: str,
        place: str,
        ending: str,
        loaders: tuple[str, ...],
        make: Callable[[Marks], bytes],
    ) -> Payload:
        self.count += 1
        mark = Marks(str(self.marks / f"{self.count:05}"))
        words = "".join(c if c.isalnum() else "-" for c in f"{kind}-in-{place}")
        path = self.folder / f"{self.count:05}-{words}{ending}"
        path.write_bytes(make(mark))
        return Payload(kind, place, path, mark, loaders)


def _of_settings(writer: _Writer) -> Iterator[Payload]:
    for kind, settings in CALLED.items():
        for place, model in (("SAC", sound().sac), ("PPO", sound().ppo)):
            yield writer.write(
                kind,
                f"settings of {place}",
                ".zip",
                (f"{place}.load",),
                lambda mark, s=settings, m=model: with_settings(m, **s(mark)),
            )
    for kind, settings in CRASHING.items():
        yield writer.write(
            kind,
            "settings of SAC",
            ".zip",
            ("SAC.load and a draw",),
            lambda mark, s=settings: with_settings(sound().sac, **s(mark)),
        )
    yield writer.write(
        "method in a state",
        "VecNormalize",
        ".pkl",
        ("VecNormalize.load",),
        lambda mark: with_state(sound().statistics, **statistics(mark)),
    )
    for kind, program in CRASHES.items():
        for place in ("settings", "replay buffer", "bare"):
            ending, loaders, make = {**PYTHON_PLACES, **TORCH_PLACES}[place]
            yield writer.write(
                kind, place, ending, loaders, lambda mark, p=program, m=make: m(p + POP + b"N")
            )


def _of_containers(writer: _Writer) -> Iterator[Payload]:
    members: Mapping[str, bytes] = members_of(sound().sac)
    for kind, checkpoint in containers.CHECKPOINTS.items():
        yield writer.write(
            kind,
            "checkpoint",
            ".zip",
            ("SAC.load", "SAC.load, older"),
            lambda mark, f=checkpoint: f(members, mark),
        )
    for kind, file in containers.TORCH_FILES.items():
        yield writer.write(kind, "torch file", ".pt", _TORCH, file)
        yield writer.write(
            kind,
            "policy",
            ".zip",
            ("SAC.load, older", "SAC.load"),
            lambda mark, f=file: with_member(sound().sac, policy__pth=f(mark)),
        )
    yield writer.write(
        "second in a row",
        "replay buffer",
        ".pkl",
        ("load_replay_buffer", "pickle.load in a row"),
        containers.in_a_row,
    )
    yield writer.write(
        "zip behind a pickle",
        "checkpoint",
        ".zip",
        ("SAC.load",),
        lambda mark: containers.zip_behind_a_pickle(members, mark),
    )
    yield writer.write(
        "zip behind a pickle",
        "replay buffer",
        ".pkl",
        ("load_replay_buffer", "SAC.load"),
        lambda mark: containers.zip_behind_a_pickle(members, mark),
    )
    for place, ending, loaders in (
        ("replay buffer", ".pkl", ("load_replay_buffer",)),
        ("statistics", ".pkl", ("VecNormalize.load",)),
        ("torch file", ".safetensors", _TORCH),
    ):
        yield writer.write(
            "pickle in a safetensors file", place, ending, loaders, containers.in_safetensors
        )
