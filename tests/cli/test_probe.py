"""`sacdoctor probe` as it is used at a terminal and in scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sacdoctor.extras
from tests.conftest import Run
from tests.replay_buffers import of_kind

pytestmark = pytest.mark.slow

KEYS = ("schema_version", "path", "observations", "networks", "findings")
LAYER = ("name", "activation", "units", "dead_percent", "saturated_percent")
"""DESIGN.md, section 9."""


def test_json_has_the_keys_of_the_contract(run: Run, tmp_path: Path) -> None:
    buffer = of_kind("plain").save(tmp_path)
    outcome = run("probe", tmp_path / "model.zip", "--format", "json")
    document = json.loads(outcome.out)
    assert (outcome.code, outcome.err) == (0, "")
    assert document.keys() >= {*KEYS}
    assert document["observations"] == {"source": "buffer", "name": str(buffer), "count": 120}
    names = [network["name"] for network in document["networks"]]
    assert names == ["actor", "critic", "critic_target"]
    for network in document["networks"]:
        assert network.keys() >= {"name", "layers", "outputs"}
        assert all(layer.keys() >= {*LAYER} for layer in network["layers"])


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_the_table_names_every_layer_at_any_width(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    of_kind("plain").save(tmp_path)
    monkeypatch.setenv("COLUMNS", columns)
    out = run("probe", tmp_path / "model.zip").out
    assert max(map(len, out.splitlines())) <= max(int(columns), len(str(tmp_path)) + 16)
    for name in ("actor.latent_pi.0", "critic.qf0.0", "critic_target.qf1.2"):
        assert name in out


def test_one_place_of_observations_is_enough(run: Run, tmp_path: Path) -> None:
    buffer = of_kind("plain").save(tmp_path)
    outcome = run("probe", tmp_path / "model.zip", "--buffer", buffer, "--env", "CartPole-v1")
    assert outcome.code == 2
    assert "one of them" in outcome.complaint


def test_without_the_extra_one_line_says_what_to_install(
    run: Run, broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_module: str) -> None:
        raise ModuleNotFoundError("No module named 'stable_baselines3'", name="stable_baselines3")

    monkeypatch.setattr(sacdoctor.extras, "import_module", missing)
    outcome = run("probe", broken)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.complaint == (
        "sacdoctor: sacdoctor probe needs stable_baselines3: pip install 'sacdoctor[train]'"
    )
