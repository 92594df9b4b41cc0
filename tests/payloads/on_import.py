"""A module that lies where Python finds modules, and does its harm when it is imported."""

from __future__ import annotations

import os
from pathlib import Path

if mark := os.environ.get("SACDOCTOR_MARK"):
    Path(mark).touch()
