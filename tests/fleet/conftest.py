"""Limits that are quickly reached, and a large checkpoint with a payload in its settings."""

from __future__ import annotations

import base64
import json
import pickle
import zipfile
from pathlib import Path

import pytest

from sacdoctor.fleet import Patience

HASTE = Patience(max_bytes=50_000_000, silence=0.5, grace=1.0, tries=2, wait=0.01)


class _Payload:
    def __reduce__(self) -> object:
        import os

        return os.system, ("true",)


PAYLOAD = pickle.dumps(_Payload())


@pytest.fixture(scope="session")
def large_payload(full_two_head: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of 17 MB, where loading its `data` would start a program."""
    path = tmp_path_factory.mktemp("payload") / "agent.zip"
    with zipfile.ZipFile(full_two_head) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                settings = json.loads(content)
                encoded = base64.b64encode(PAYLOAD).decode()
                settings["lr_schedule"] = {":type:": "function", ":serialized:": encoded}
                content = json.dumps(settings).encode()
            new.writestr(name, content)
    return path
