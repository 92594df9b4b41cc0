"""What is emitted runs as it stands, and says the same in every format."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import sb3_contrib
import stable_baselines3
from ruamel.yaml import YAML

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.errors import SacdoctorError
from sacdoctor.settings.document import Language
from sacdoctor.settings.fix_config import fix_config, fix_text
from tests.conftest import child_environment

RUN_ALL = """
import json, sys, torch
from pathlib import Path

torch.set_num_threads(1)
norms = []
def spy(optimizer, arguments, options):  # gradients are still there after a step
    gradients = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    if sum(p.numel() for g in optimizer.param_groups for p in g["params"]) == 1:
        return  # the entropy coefficient's, which nobody clips
    norms.append(float(torch.stack([g.norm() for g in gradients]).norm()) if gradients else 0.0)
from torch.optim.optimizer import register_optimizer_step_post_hook
register_optimizer_step_post_hook(spy)

results = {}
for name, script in json.loads(Path("scripts.json").read_text()).items():
    norms.clear()
    space = {}
    exec(compile(script, f"{name}.py", "exec"), space)
    model = space["model"]
    results[name] = {
        "class": type(model).__name__,
        "learning_rate": model.lr_schedule(1.0),
        "end": model.lr_schedule(0.0),
        "learning_starts": getattr(model, "learning_starts", None),
        "steps": model.num_timesteps,
        "updates": model._n_updates,
        "clipped": len(norms),
        "largest": max(norms, default=None),
        "saved": Path("model.zip").exists(),
    }
    Path("model.zip").unlink()
Path("results.json").write_text(json.dumps(results))
"""


def yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of every algorithm's script, all run in one process of its own.

    Only the number of steps is changed, so that it ends in seconds.
    """
    folder = tmp_path_factory.mktemp("scripts")
    scripts = {name: fix_config(algorithm=name).as_python() for name in ALGORITHMS}
    linear = fix_text(b"learning_rate: lin_5e-3\nlearning_starts: 200\n", algorithm="SAC")
    scripts["linear"] = linear.as_python()
    for name, script in scripts.items():
        assert script.count("total_timesteps=5_500") == 1
        assert script.count("learning_starts=5_000,") in (0, 1)
        scripts[name] = script.replace("=5_500", "=240").replace("=5_000,", "=200,")
    (folder / "scripts.json").write_text(json.dumps(scripts))
    subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        cwd=folder,
        env=child_environment(),
        check=True,
        timeout=300,
    )
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return results


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_script_trains_and_clips(trained: dict[str, Any], name: str) -> None:
    result = trained[name]
    assert result["class"] == name
    assert result["learning_rate"] == fix_config(algorithm=name).settings.learning_rate  # type: ignore[union-attr]
    assert result["steps"] >= 240
    assert result["saved"]
    if name == "ARS":  # it has no gradient
        assert result["clipped"] == 0
    else:
        assert result["updates"] > 0
        assert result["clipped"] > 0
        assert result["largest"] <= 1.0 + 1e-5
    if result["learning_starts"] is not None:
        assert result["learning_starts"] == 200


@pytest.mark.slow
def test_a_linear_schedule_stays_one(trained: dict[str, Any]) -> None:
    assert trained["linear"]["learning_rate"] == 1e-4
    assert trained["linear"]["end"] == 0.0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_script_is_tidy(name: str) -> None:
    script = fix_config(algorithm=name).as_python()
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,I,W", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - {"MaskablePPO"}))
def test_the_constructor_accepts_what_rl_zoo_would_give_it(name: str) -> None:
    section = yaml(fix_config(algorithm=name).as_zoo())["default"]
    assert section.pop("n_timesteps") == 1e6
    env = "Pendulum-v1" if name in ("SAC", "TD3", "DDPG", "TQC", "CrossQ") else "CartPole-v1"
    module = stable_baselines3 if hasattr(stable_baselines3, name) else sb3_contrib
    model = getattr(module, name)(section.pop("policy"), env, **section)
    assert model.learning_rate == section["learning_rate"]


def test_rl_zoo_has_no_maskable_ppo() -> None:
    with pytest.raises(SacdoctorError, match="rl-zoo does not train MaskablePPO"):
        fix_config(algorithm="MaskablePPO").as_zoo()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_language_says_the_same(name: str) -> None:
    fixed = fix_config(algorithm=name)
    from_json = json.loads(fixed.as_text(Language.JSON))
    assert from_json["algorithm"] == name
    assert yaml(fixed.as_text(Language.YAML)) == from_json
    assert tomllib.loads(fixed.as_text(Language.TOML)) == {
        key: value for key, value in from_json.items() if value is not None
    }


def test_what_is_emitted_is_found_in_order() -> None:
    for name in ALGORITHMS:
        for language in Language:
            text = fix_config(algorithm=name).as_text(language)
            assert fix_text(text.encode(), language=language).changes == ()
        if name != "MaskablePPO":
            zoo = fix_config(algorithm=name).as_zoo()
            assert fix_text(zoo.encode(), algorithm=name).changes == ()


FILES = {
    Language.YAML: "algo: sac\nm:\n  learning_rate: 5e-3\n  n: [1, a, null, true]\n",
    Language.JSON: '{"algo": "sac", "m": {"learning_rate": 5e-3, "n": [1, "a", null, true]}}',
    Language.TOML: 'algo = "sac"\nm.learning_rate = 5e-3\nm.n = [1, "a", true]\n',
}


@pytest.mark.parametrize("source", Language)
@pytest.mark.parametrize("target", Language)
def test_a_file_comes_out_in_another_language(source: Language, target: Language) -> None:
    load = {Language.YAML: yaml, Language.JSON: json.loads, Language.TOML: tomllib.loads}[target]
    found = load(fix_text(FILES[source].encode(), language=source).as_text(target))
    found["m"]["n"] = [item for item in found["m"]["n"] if item is not None]
    assert found == {"algo": "sac", "m": {"learning_rate": 1e-4, "n": [1, "a", True]}}


def test_small_numbers_stay_numbers_in_yaml() -> None:
    text = fix_text(b'{"x": 1e-07, "y": 2.5e-9}', algorithm="SAC").as_text(Language.YAML)
    assert text == "x: 1.0e-07\ny: 2.5e-09\n"


def test_a_file_becomes_a_zoo_section_or_a_script() -> None:
    text = b"algo: ppo\nlearning_rate: lin_5e-2\nmax_grad_norm: 0.5\nn_steps: 8\n"
    fixed = fix_text(text)
    assert yaml(fixed.as_zoo())["default"] == {
        "n_timesteps": 1e6,
        "policy": "MlpPolicy",
        "learning_rate": "lin_3e-4",
        "max_grad_norm": 0.5,
    }
    script = fixed.as_python()
    assert "learning_rate=lambda progress_remaining: 3e-4 * progress_remaining," in script
    assert "max_grad_norm=0.5," in script


def test_a_zoo_file_stays_whole() -> None:
    text = b"A-v1:\n  learning_rate: !!float 5e-3\n  gamma: 0.9\nB-v1: {gamma: 1}\n"
    assert fix_text(text, stem="sac").as_zoo() == (
        "A-v1:\n  learning_rate: !!float 1e-4  # was 5e-3\n  gamma: 0.9\nB-v1: {gamma: 1}\n"
    )


def test_several_sets_of_settings_are_no_script() -> None:
    fixed = fix_text(b"a: {lr: 1e-4}\nb: {lr: 2e-4}\n", algorithm="SAC")
    with pytest.raises(SacdoctorError, match="in several places to different values"):
        fixed.as_python()
    fixed = fix_text(b"sac: {lr: 1e-4}\nppo: {lr: 1e-4}\n")
    with pytest.raises(SacdoctorError, match="several algorithms"):
        fixed.as_python()
    with pytest.raises(SacdoctorError, match="none of the known settings"):
        fix_text(b"a: 1\n").as_python()


def test_scripts_are_written_for_a_checkpoint_too(tmp_path: Path) -> None:
    model = stable_baselines3.SAC("MlpPolicy", "Pendulum-v1", learning_rate=5e-3, buffer_size=10)
    model.save(tmp_path / "model.zip")
    script = fix_config(tmp_path / "model.zip").as_python()
    assert "learning_rate=1e-4," in script
    assert "learning_starts=100," in script


# -- characters that a terminal or an editor obeys ---------------------------------------------

HOSTILE = [chr(c) for c in (0x7F, 0x9B, 0x61C, 0x200F, 0x202E, 0x2028, 0x2066)]


def held(text: str, language: str) -> dict[str, Any]:
    if language == "toml":
        return tomllib.loads(text)
    document: dict[str, Any] = (
        json.loads(text) if language == "json" else YAML(typ="safe", pure=True).load(text)
    )
    return dict(document)


@pytest.mark.parametrize("target", ["json", "toml", "yaml", None])
@pytest.mark.parametrize("source", ["json", "toml", "yaml"])
@pytest.mark.parametrize("character", HOSTILE)
def test_what_a_terminal_obeys_is_written_as_an_escape(
    character: str, source: str, target: str | None
) -> None:
    settings = {"algorithm": "SAC", "learning_rate": 1e-4, f"é{character}": f"a{character}é"}
    # YAML and TOML take some only as an escape; JSON has no comments.
    is_taken = source == "json" or character not in "\x7f\x9b\u2028"
    stands = character if is_taken else f"\\u{ord(character):04x}"
    head = f"# a comment{stands}\n" if source != "json" else ""
    pairs = ['"algorithm"{}"SAC"', '"learning_rate"{}0.0001', f'"é{stands}"{{}}"a{stands}é"']
    if source == "toml":
        text = head + "\n".join(pair.format(" = ") for pair in pairs) + "\n"
    else:
        text = head + "{" + ", ".join(pair.format(": ") for pair in pairs) + "}\n"
    fixed = fix_text(text.encode(), language=Language(source))
    emitted = fixed.as_text(None if target is None else Language(target))
    assert character not in emitted
    assert held(emitted, target or source) == settings


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("toml", "algorithm = 'SAC'\nlearning_rate = 1e-4\nname = 'a\u202e'\n"),
        ("yaml", "algorithm: SAC\nlearning_rate: 0.0001\nname: a\u202e\n"),
    ],
)
def test_where_no_escape_can_stand_the_file_is_not_printed(language: str, text: str) -> None:
    fixed = fix_text(text.encode(), language=Language(language))
    with pytest.raises(SacdoctorError, match="control characters"):
        fixed.as_text()
    assert json.loads(fixed.as_text(Language.JSON))["name"] == "a\u202e"


@pytest.mark.parametrize("text", ["name: שלום é 日本 ✓\n", "# שלום\ta\r\nname: x\r\n"])
def test_all_other_characters_stay(text: str) -> None:
    whole = "algorithm: SAC\nlearning_rate: 0.0001\n" + text
    assert fix_text(whole.encode(), language=Language.YAML).as_text() == whole


def test_writing_in_place_changes_nothing_else(run: Any, tmp_path: Path) -> None:
    source = tmp_path / "run.yml"
    source.write_text("algorithm: SAC\nlearning_rate: 0.05\nname: a\u200f\n", encoding="utf-8")
    assert run("fix-config", source, "--write").code == 0
    after = source.read_text(encoding="utf-8")
    assert after == "algorithm: SAC\nlearning_rate: 0.0001\nname: a\u200f\n"
