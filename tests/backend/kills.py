"""How often the fault tests kill: each counts its own kills, and fails where they are fewer."""

from __future__ import annotations

INTAKE_KILLS, RECONCILE_KILLS, EXPORT_KILLS = 70, 70, 70
TRAINING_KILLS, DECISION_KILLS, PROMOTION_KILLS = 15, 20, 36
JOB_KILLS = 18

assert INTAKE_KILLS + RECONCILE_KILLS + EXPORT_KILLS >= 200, "so many are promised"
assert TRAINING_KILLS + PROMOTION_KILLS >= 50, "so many are promised, beside those of jobs and servers"
