"""How a dead bias is re-drawn, a plan of what to repair, and carrying the plan out."""

from sacdoctor.diagnosis import Completion
from sacdoctor.repair.donors import Donor, Donors
from sacdoctor.repair.fix import FixResult, fix, fixed_name
from sacdoctor.repair.initialisers import describe, encoded, initial_values
from sacdoctor.repair.model import (
    Left,
    MomentReset,
    Refit,
    Rename,
    RepairError,
    RepairOptions,
    RepairPlan,
    SettingChange,
    TensorRepair,
)
from sacdoctor.repair.plan import make_plan
from sacdoctor.repair.remaining import cures

__all__ = [
    "Completion",
    "Donor",
    "Donors",
    "FixResult",
    "Left",
    "MomentReset",
    "Refit",
    "Rename",
    "RepairError",
    "RepairOptions",
    "RepairPlan",
    "SettingChange",
    "TensorRepair",
    "cures",
    "describe",
    "encoded",
    "fix",
    "fixed_name",
    "initial_values",
    "make_plan",
]
