"""Calibration: errors are measured as defined, and a fitted score can be believed."""

from __future__ import annotations

import numpy as np
import pytest

from model.training import reliability


def test_the_error_is_the_distance_of_scores_from_what_comes_true():
    """Two bins, one right on average, one too sure by .4, weighed by their shares."""
    score = np.array([0.25] * 4 + [0.95] * 4)
    right = np.array([True, False, False, False] + [True, False, True, False])
    assert reliability.error(score, right) == pytest.approx(0.5 * 0.0 + 0.5 * 0.45)
    assert reliability.table(score, right) == [pytest.approx((0.5, 0.25, 0.25)), pytest.approx((0.5, 0.95, 0.5))]


def test_a_fit_mends_overconfidence_and_keeps_the_order():
    """Scores that are far too high become believable; the likelier of two answers stays the likelier."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.05, 0.95, 4000)
    right = rng.random(4000) < truth
    log_probability = -0.1 * np.log1p(np.exp(-np.log(truth / (1 - truth))))
    assert reliability.error(np.exp(log_probability), right) > 0.3
    slope, offset = reliability.fit(log_probability, right)
    assert slope > 0
    assert reliability.error(1 / (1 + np.exp(-(slope * log_probability + offset))), right) < 0.06


@pytest.mark.parametrize("always", [True, False])
def test_one_sided_evidence_gives_finite_numbers(always: bool):
    """A model that is always right, or never, does not break the fit."""
    slope, offset = reliability.fit(np.linspace(-2, -0.1, 50), np.full(50, always))
    assert np.isfinite([slope, offset]).all() and slope > 0
    assert reliability.fit(np.zeros(0), np.zeros(0, bool)) == (1.0, 0.0)
