"""How often the fault tests kill: each counts its own kills, and fails where they are fewer."""

from __future__ import annotations

INTAKE_KILLS, RECONCILE_KILLS, EXPORT_KILLS = 70, 70, 70
TRAINING_KILLS = 15

PROMOTION_KILLS = 20
"""Of the 50 that training and promotion are promised together."""

assert INTAKE_KILLS + RECONCILE_KILLS + EXPORT_KILLS >= 200, "so many are promised"

JOB_KILLS = 18
