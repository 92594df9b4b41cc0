"""Signs that a training goes bad: collapse, divergence, schedules that jump."""
