"""Calibration: the temperature that was planted is found, and the error is what it is by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from model import PAM
from model.training.calibration import collect, fit_temperature, negative_log_likelihood, reliability
from model.training.shapes import CATEGORIES


@pytest.mark.parametrize("planted", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_planted_is_found(planted: float):
    """Truth drawn from what the model says at a known temperature; then that one fits best."""
    rng = np.random.default_rng(0)
    likelihoods = rng.normal(0, 3, (4000, 8))
    probabilities = softmax(likelihoods / planted, axis=1)
    truth = (probabilities.cumsum(1) < rng.random((4000, 1))).sum(1)
    found = fit_temperature(likelihoods, truth)
    assert found == pytest.approx(planted, rel=0.1)
    assert reliability(likelihoods, truth, found).error < 0.03
    if planted != 1:
        assert reliability(likelihoods, truth, 1.0).error > 0.08


def test_the_error_by_hand():
    """Two confident answers, one right, and two unsure ones, both wrong."""
    values = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    result = reliability(values, np.array([0, 1, 1, 1]), 1.0, bins=10)
    assert result.error == pytest.approx(0.5 * abs(0.9 - 0.5) + 0.5 * 0.6)
    assert np.nansum(result.share) == pytest.approx(1)
    assert np.isnan(result.accuracy).sum() == 8


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.floats(0.1, 9))
def test_the_fitted_temperature_is_the_best(seed: int, other: float):
    """No other temperature explains the truth better, and the choice itself never changes."""
    rng = np.random.default_rng(seed)
    likelihoods, truth = rng.normal(0, 2, (40, 5)), rng.integers(0, 5, 40)
    best = fit_temperature(likelihoods, truth)
    assert negative_log_likelihood(likelihoods, truth, best) <= (
        negative_log_likelihood(likelihoods, truth, other) + 1e-6
    )


def test_a_model_is_asked_about_what_it_never_saw(nano: PAM):
    """Every category gets a likelihood on every scene, and all of nano's free answers are categories of the list."""
    trials = collect(nano, 3, 4)
    assert trials.log_likelihoods.shape == (4, len(CATEGORIES))
    assert np.isfinite(trials.log_likelihoods).all() and (trials.log_likelihoods <= 0).all()
    said = trials.free >= 0
    assert said.any()
    # Free, greedy answers of a model that says one of these words are the likeliest of them.
    assert (trials.log_likelihoods.argmax(1) == trials.free)[said].mean() >= 0.75
