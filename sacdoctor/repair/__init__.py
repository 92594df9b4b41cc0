"""How a dead bias is re-drawn, a plan of what to repair, and carrying the plan out."""

from sacdoctor.repair.fix import FixResult, fix, fixed_name
from sacdoctor.repair.model import (
    Left,
    MomentReset,
    RepairError,
    RepairOptions,
    RepairPlan,
    SettingChange,
    TensorRepair,
)
from sacdoctor.repair.plan import make_plan
from sacdoctor.repair.remaining import cures

__all__ = [
    "FixResult",
    "Left",
    "MomentReset",
    "RepairError",
    "RepairOptions",
    "RepairPlan",
    "SettingChange",
    "TensorRepair",
    "cures",
    "fix",
    "fixed_name",
    "make_plan",
]
