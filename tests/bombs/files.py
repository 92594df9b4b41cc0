"""Files that are bombs, of every kind that a verb reads, and the command lines that look into them.

What all of them take is less than a megabyte.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch as th

from tests.archives import (
    DEFLATED,
    Entry,
    raw_zip,
    saved,
    sb3_members,
    tensor_pickle,
    torch_zip,
    zip_of,
)
from tests.bombs.programs import PROGRAMS
from tests.payloads.assembly import whole
from tests.payloads.hiding import old_torch

MEGA = 1_000_000
POLICY = {"fc.weight": th.ones(4, 4), "fc.bias": th.zeros(4)}
DICT, END = b"\x80\x02ccollections\nOrderedDict\n)R(", b"u."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def model(**members: bytes) -> bytes:
    return zip_of(sb3_members(POLICY) | {n.replace("__", "."): m for n, m in members.items()})


def setting(pickle: bytes) -> dict[str, str]:
    return {":type:": "x", ":serialized:": base64.b64encode(pickle).decode()}


def settings(values: object) -> bytes:
    return model(data=json.dumps(values).encode())


def deflated(policy: bytes, storage: bytes) -> bytes:
    inner = [
        Entry("archive/data.pkl", policy, method=DEFLATED),
        Entry("archive/data/0", storage, method=DEFLATED),
    ]
    members = sb3_members(POLICY) | {"policy.pth": raw_zip(inner)}
    return raw_zip([Entry(name, data, method=DEFLATED) for name, data in members.items()])


def named(names: list[str]) -> bytes:
    """The pickle of a state dict in which all these names are of one tensor."""
    one = tensor_pickle(name=names[0])[len(DICT) : -len(END)]
    key = text(names[0])
    again = b"".join(text(name) + b"h\x63" for name in names[1:])
    return DICT + key + one.removeprefix(key) + b"q\x63" + again + END


def opened_again_and_again() -> bytes:
    """Pickles in pickles, seven deep, each opened thirty times by the one around it."""
    inner = b"\x80\x04N."
    for _ in range(7):
        size = struct.pack("<I", len(inner))
        inner = (
            b"\x80\x04cpickle\nloads\nq\0B" + size + inner + b"q\1" + b"h\0h\1\x85R0" * 30 + b"N."
        )
    return inner


def entries(count: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number:x}", b"")
    return file.getvalue()


def safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


CHECKPOINTS: Mapping[str, Callable[[], bytes]] = {
    "pickles-opened-again": lambda: settings({"policy_class": setting(opened_again_and_again())}),
    "a-long-key-over-many-lists": lambda: settings({"a": {"k" * 13_000: [[[0]]] * 3000}}),
    "pickles-below-a-long-key": lambda: settings(
        {"a": {"k" * 13_000: {**setting(b"N."), "b": [[setting(b"N.")]] * 600}}}
    ),
    "pickles-by-the-thousand": lambda: settings({f"k{n}": setting(b"N.") for n in range(18_000)}),
    "a-number-of-900-kilobytes": lambda: model(data=b'{"learning_rate": ' + b"9" * 900_000 + b"}"),
    "lists-in-lists": lambda: model(data=b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "names-of-24-parts": lambda: model(
        policy__pth=torch_zip(
            named([".".join(["actor", "qf", "target"] * 8) + f".{n}.bias" for n in range(4000)]),
            {"0": bytes(16)},
        )
    ),
    "names-of-24-parts-in-optimizers": lambda: model(
        policy__pth=torch_zip(named([".".join(["a"] * 24) + f".{n}.bias" for n in range(300)])),
        x__optimizer__pth=saved({"state": {}, "param_groups": [{"params": [*range(301)]}]}),
    ),
    "a-hundred-thousand-names": lambda: deflated(
        named([f"l{n}.bias" for n in range(100_000)]), bytes(16)
    ),
    "ten-thousand-names": lambda: deflated(named([f"l{n}.bias" for n in range(10_000)]), bytes(16)),
    "names-of-9-kilobytes": lambda: deflated(
        named(["n" * 9000 + f"{n}.bias" for n in range(1500)]), bytes(16)
    ),
    "a-bias-of-60-megabytes": lambda: deflated(
        tensor_pickle(name="fc.bias", numel=15 * MEGA, shape=(15 * MEGA,)), bytes(60 * MEGA)
    ),
    "a-bias-of-15-megabytes": lambda: deflated(
        tensor_pickle(name="fc.bias", numel=15 * MEGA // 4, shape=(15 * MEGA // 4,)),
        bytes(15 * MEGA),
    ),
    "ten-thousand-entries": lambda: entries(9000),
    "optimizers-by-the-thousand": lambda: model(
        **{f"x{n}__optimizer__pth": b"" for n in range(4000)}
    ),
    "pickles-beside-by-the-thousand": lambda: model(**{f"x{n}__pkl": b"N." for n in range(6000)}),
    "control-characters": lambda: model(
        policy__pth=torch_zip(named([f"\x1b[2J\u202e{n}.bias" for n in range(50)])),
        data=json.dumps({"\x1b[2J\u202e": "\x1b]0;x\x07"}).encode(),
    ),
}
STATE_DICTS: Mapping[str, Callable[[], bytes]] = {
    "lists-in-a-header": lambda: safetensors(b'{"a":' + b"[" * 900_000),
    "thirteen-thousand-tensors": lambda: safetensors(
        json.dumps(
            {
                f"l{n}.bias": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                for n in range(13_000)
            }
        ).encode()
    ),
    "shapes-without-end": lambda: safetensors(
        b'{"a":{"dtype":"F32","shape":[' + b",".join([b"9" * 4000] * 20) + b"]}}"
    ),
}
SETTINGS: Mapping[str, Callable[[], bytes]] = {
    "underscores.yaml": lambda: b"learning_rate: 1" + b"_" * 400_000,
    "underscores.toml": lambda: b"learning_rate = 1" + b"_" * 400_000,
    "underscores.json": lambda: b'{"learning_rate": "1' + b"_" * 400_000 + b'"}',
    "sixties.yaml": lambda: b"learning_rate: 1" + b":1" * 200_000,
    "digits.yaml": lambda: b"learning_rate: " + b"9" * 900_000,
    "digits.toml": lambda: b"learning_rate = " + b"9" * 900_000,
    "deep.yaml": lambda: b"a: " + b"[" * 100_000,
    "deep.toml": lambda: b"a = " + b"[" * 50_000 + b"]" * 50_000,
    "deep.json": lambda: b"[" * 200_000,
    "aliases.yaml": lambda: (
        b"a0: &a0 [x]\n"
        + b"".join(b"a%d: &a%d [*a%d,*a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 40))
    ),
    "dots.toml": lambda: b"a" + b".a" * 20_000 + b" = 1\n",
}
MONITOR = b'#{"t_start": 1, "env_id": "x"}\nr,l,t\n'
PROGRESS = b"time/total_timesteps,rollout/ep_rew_mean\n"
LOGS: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "lengths-beyond-64-bits": ("monitor.csv", lambda: MONITOR + b"1.0,%d,1\n" % 10**30 * 300),
    "lengths-that-add-up-beyond": ("monitor.csv", lambda: MONITOR + b"1.0,%d,1\n" % 2**62 * 300),
    "a-length-of-500-kilobytes": ("monitor.csv", lambda: MONITOR + b"1," + b"9" * 500_000 + b",1"),
    "a-header-of-lists": ("monitor.csv", lambda: b'#{"t_start":' + b"[" * 100_000 + b"\nr,l,t\n"),
    "timesteps-beyond-64-bits": ("progress.csv", lambda: PROGRESS + b"%d,1.0\n" % 10**25 * 300),
    "timesteps-that-are-none": ("progress.csv", lambda: PROGRESS + b"1e400,1\n-1e300,2\nnan,4\n"),
    "columns-by-the-thousand": (
        "progress.csv",
        lambda: b",".join(b"a%d" % n for n in range(80_000)) + b"\n",
    ),
    "event-files-of-nothing": ("events.out.tfevents.1", lambda: bytes(500_000)),
}


EVALUATIONS: Mapping[str, Callable[[], bytes]] = {
    "zeros-that-inflate": lambda: arrays(results=npy((25_000_000,), bytes(200 * MEGA))),
    "more-than-there-is": lambda: arrays(results=npy((2**40, 3), bytes(100))),
    "dimensions-by-the-hundred": lambda: arrays(results=npy((1,) * 900, bytes(8))),
    "a-header-of-brackets": lambda: arrays(results=headed(b"(" * 60_000)),
    "a-header-that-multiplies": lambda: arrays(results=headed(b"9" * 9000 + b"**9")),
    "arrays-by-the-thousand": lambda: arrays(**{f"a{n}": npy((1,), bytes(8)) for n in range(2500)}),
    "objects": lambda: arrays(results=npy((2,), whole(b"]" * 60_000), "|O")),
    "timesteps-that-repeat": lambda: arrays(
        timesteps=npy((4000,), bytes(32_000)), results=npy((4000, 5), bytes(160_000))
    ),
    "texts-of-a-megabyte": lambda: arrays(timesteps=npy((1,), bytes(4 * MEGA), "<U1000000")),
}
EVENTS: Mapping[str, Callable[[], bytes]] = {
    "a-record-without-end": lambda: struct.pack("<QI", 2**62, 0) + bytes(1000),
    "records-of-nothing": lambda: struct.pack("<QII", 0, 0, 0) * 60_000,
    "tags-by-the-thousand": lambda: b"".join(
        record(event(n, f"rollout/{n}".encode())) for n in range(15_000)
    ),
    "a-tag-of-800-kilobytes": lambda: record(event(1, b"t" * 800_000)),
    "messages-in-messages": lambda: record(nested(100_000)),
    "steps-beyond-64-bits": lambda: record(b"\x10" + b"\xff" * 400_000),
    "a-reward-again-and-again": lambda: b"".join(
        record(event(n, b"rollout/ep_rew_mean")) for n in range(15_000)
    ),
}
OWN_SETTINGS: Mapping[str, Callable[[], bytes]] = {
    "lists-in-lists": lambda: b"select = " + b"[" * 100_000 + b"]" * 100_000,
    "dots": lambda: b"[a" + b".a" * 100_000 + b"]\n",
    "digits": lambda: b"warning = " + b"9" * 900_000,
    "rules-by-the-thousand": lambda: b"select = [" + b'"SD1",' * 100_000 + b"]",
    "patterns-that-look-back": lambda: (
        b"[components]\n" + b"".join(b'"%s%d" = "x"\n' % (b"*a" * 400, n) for n in range(500))
    ),
    "names-by-the-thousand": lambda: (
        b"[components]\n" + b"".join(b'"n%d" = "c%d"\n' % (n, n) for n in range(30_000))
    ),
}
BASELINES: Mapping[str, Callable[[], bytes]] = {
    "lists-in-lists": lambda: b"[" * 400_000,
    "digits": lambda: b'{"schema_version": ' + b"9" * 800_000 + b"}",
    "findings-by-the-thousand": lambda: json.dumps(
        {"schema_version": 1, "known": [{"path": "a", "code": "SD101"}] * 20_000}
    ).encode(),
}
STATISTICS: Mapping[str, Callable[[], bytes]] = {
    "spaces-in-spaces": lambda: whole(
        b"".join(
            b"cgymnasium.spaces.dict\nDict\n)\x81}X\6\0\0\0spaces}X\1\0\0\0a" for _ in range(9000)
        )
        + b"N"
        + b"ssb" * 9000
    ),
}
BUFFERS: Mapping[str, Callable[[], bytes]] = {
    "infos-by-the-thousand": lambda: whole(
        b"cstable_baselines3.common.buffers\nReplayBuffer\n)\x81}(X\5\0\0\0infos]("
        + b"}" * 600_000
        + b"eub"
    ),
    "positions-without-end": lambda: whole(
        b"cstable_baselines3.common.buffers\nReplayBuffer\n)\x81}(X\x0b\0\0\0buffer_sizeI"
        + b"9" * 900
        + b"\nX\3\0\0\0posI"
        + b"9" * 900
        + b"\nub"
    ),
    "opened-again": opened_again_and_again,
}


# -- how some of them are made -------------------------------------------------------------------


def npy(shape: tuple[int, ...], content: bytes, kind: str = "<f8") -> bytes:
    """A `.npy`, whatever its header says of its content."""
    header = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    return headed(header) + content


def headed(header: bytes) -> bytes:
    return b"\x93NUMPY\2\0" + struct.pack("<I", len(header)) + header


def arrays(**members: bytes) -> bytes:
    """What `numpy.savez_compressed` makes of them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that is a message, or a text."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def event(step: int, tag: bytes) -> bytes:
    """TensorBoard's event of one scalar."""
    value = field(1, tag) + b"\x15" + struct.pack("<f", 1.0)
    return b"\x09" + struct.pack("<d", 1.0) + b"\x10" + varint(step) + field(5, field(1, value))


def nested(depth: int) -> bytes:
    """Messages in messages, each of which claims all that follows."""
    return b"".join(b"\x2a" + varint(4 * (depth - n)) for n in range(depth))


def record(content: bytes) -> bytes:
    return struct.pack("<QI", len(content), 0) + content + bytes(4)


def in_settings(program: bytes) -> bytes:
    return settings({"policy_kwargs": setting(whole(program)), "learning_rate": 3e-4})


def in_policy(program: bytes) -> bytes:
    records = [Entry("archive/data.pkl", whole(program)), Entry("archive/version", b"3\n")]
    return model(policy__pth=raw_zip(records))


def in_optimizer(program: bytes) -> bytes:
    return model(policy__optimizer__pth=torch_zip(whole(program)))


PLACES: Mapping[str, tuple[str, Callable[[bytes], bytes]]] = {
    "settings": ("model.zip", in_settings),
    "policy": ("model.zip", in_policy),
    "optimizer": ("model.zip", in_optimizer),
    "old-policy": ("model.zip", lambda program: model(policy__pth=old_torch(program))),
    "bare": ("model.pth", lambda program: torch_zip(whole(program))),
    "old": ("model.pth", old_torch),
    "buffer": ("model_replay_buffer.pkl", whole),
    "statistics": ("vecnormalize.pkl", whole),
}
"""What the file is called in which a program stands, and how it is made."""


# -- the command lines ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bomb:
    """A file: which kind of file it is, which kind of bomb, its path in a run's folder."""

    place: str
    kind: str
    name: str
    make: Callable[[], bytes]

    def put(self, folder: Path) -> list[tuple[str, list[object]]]:
        """Write the file, and what lies beside it; return the verbs that look into it."""
        run, sound = folder / "run", folder / "sound.zip"
        run.mkdir(parents=True)
        path = run / self.name
        content = self.make()
        assert len(content) < MEGA, (self.place, self.kind, len(content))
        path.write_bytes(content)
        sound.write_bytes(sound_model())
        return [*_verbs(self.place, path, sound)]


def bombs() -> Iterator[Bomb]:
    """Yield all of them."""
    for place, (name, within) in PLACES.items():
        for kind, program in PROGRAMS.items():
            yield Bomb(place, kind, name, lambda w=within, p=program: w(p()))
    for place, name, kinds in (
        ("checkpoint", "model.zip", CHECKPOINTS),
        ("safetensors", "model.safetensors", STATE_DICTS),
        ("evaluations", "evaluations.npz", EVALUATIONS),
        ("events", "events.out.tfevents.1", EVENTS),
        ("own settings", "sacdoctor.toml", OWN_SETTINGS),
        ("baseline", "baseline.json", BASELINES),
        ("statistics", "vecnormalize.pkl", STATISTICS),
        ("buffer", "model_replay_buffer.pkl", BUFFERS),
        ("array buffer", "model_replay_buffer.npz", EVALUATIONS),
    ):
        for kind, make in kinds.items():
            yield Bomb(place, kind, name, make)
    for name, make in SETTINGS.items():
        yield Bomb("settings file", name, name, make)
    for kind, (name, make) in LOGS.items():
        yield Bomb("log", kind, name, make)


@cache
def sound_model() -> bytes:
    """A small SAC of SB3, with dead biases."""
    from stable_baselines3 import SAC

    agent = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
    file = io.BytesIO()
    agent.save(file)
    return file.getvalue()


def _verbs(place: str, path: Path, sound: Path) -> Iterator[tuple[str, list[object]]]:
    run, beside = path.parent, path.parent / "model.zip"
    output = path.with_name(f"out{path.suffix}")
    match place:
        case "settings file":
            yield "fix-config", ["fix-config", path]
            yield "fix-config json", ["fix-config", path, "--format", "json"]
            yield "fix-config write", ["fix-config", path, "--output", output, "--force"]
            yield "warmup", ["warmup", path]
        case "log" | "evaluations" | "events":
            yield "history", ["history", run]
            yield "history json", ["history", run, "--format", "json"]
            beside.write_bytes(sound.read_bytes())
            yield "checkup", ["checkup", run]
        case "own settings":
            beside.write_bytes(sound.read_bytes())
            for verb in ("scan", "diff", "fix", "history"):
                given = {"diff": [sound, sound], "history": [run]}.get(verb, [sound])
                further = ["--output", output, "--force"] if verb == "fix" else []
                yield verb, [verb, *given, *further]
            yield "scan named", ["scan", sound, "--config", path]
            yield "gate", ["scan", "--select", "SD6", sound]
            yield "warmup", ["warmup", sound]
            (run / "z.zip").write_bytes(zip_of(sb3_members(POLICY)))  # watch ends at a dead bias
            yield "watch", ["watch", run, "--interval", "0.05"]
        case "baseline":
            yield "scan", ["scan", sound, "--baseline", path]
        case "buffer" | "array buffer" | "statistics":
            beside.write_bytes(sound.read_bytes())
            yield "gate", ["scan", "--select", "SD6", path]
            yield "scan", ["scan", path]
            yield "scan beside", ["scan", beside]
            yield "warmup", ["warmup", path]
            yield "warmup clean", ["warmup", path, "--clean", output]
            yield "fix by it", ["fix", sound, "--donor", path, "--output", output, "--force"]
            yield "probe", ["probe", beside, "--buffer", path]
            if path.suffix == ".npz":
                yield "probe arrays", ["probe", beside, "--observations", path]
            yield "checkup", ["checkup", run]
        case _:
            fix = ["fix", path, "--output", output, "--force"]
            yield "gate", ["scan", "--select", "SD6", path]
            yield "scan", ["scan", path]
            yield "scan all json", ["scan", path, "--all", "--format", "json"]
            yield "fix", fix
            yield "fix strip", [*fix, "--strip-code"]
            yield "fix here", [*fix, "--for-this-environment"]
            yield "fix by it", ["fix", sound, "--donor", path, "--output", output, "--force"]
            yield "diff", ["diff", sound, path]
            yield "history", ["history", run]
            yield "warmup", ["warmup", path]
            yield "fix-config", ["fix-config", path, "--algorithm", "SAC"]
            yield "probe", ["probe", path]
            yield "checkup", ["checkup", run]
            (run / "z.zip").write_bytes(zip_of(sb3_members(POLICY)))  # watch ends at a dead bias
            yield "watch", ["watch", run, "--interval", "0.05"]
