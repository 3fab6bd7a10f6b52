"""How far a closed vocabulary's probabilities can be believed, and the temperature that makes them so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from model.fields import question
from model.pam import PAM
from model.training.evaluation import held_out
from model.training.shapes import CATEGORIES

BINS = 15
"""Bins of the expected calibration error, as is usual since Guo et al. 2017."""


@dataclass(frozen=True, eq=False)
class Trials:
    """What a model made of N regions, with K categories to choose from.

    log_likelihoods: float64 (N, K), natural log of the probability that the model says exactly this category.
    truth:           int (N,), the right one.
    free:            int (N,), the one that it said unasked for a list; -1 where that is none of the K.
    """

    log_likelihoods: np.ndarray
    truth: np.ndarray
    free: np.ndarray


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy.

    error: expected calibration error, 0..1: how far apart they are, on average over all answers.
    share, confidence, accuracy: float (B,), of each bin of equal width; NaN in empty bins.
    """

    error: float
    share: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def collect(pam: PAM, seed: int, scenes: int) -> Trials:
    """Let a model choose among the drawn categories, and say freely, on the clicks that `evaluation` uses."""
    names = list(CATEGORIES)
    likelihoods, truth, free = [], [], []
    for scene, thing, prompt in held_out(seed, scenes):
        found = pam.segment(pam.encode(scene.image), prompt)
        ranking = pam.rank(found, names)
        scored = dict(zip(ranking.labels, ranking.log_likelihoods, strict=True))
        likelihoods.append([scored[name] for name in names])
        truth.append(names.index(thing.facts.category))
        said = pam.ask(found, [question("category")])[0].text
        free.append(names.index(said) if said in names else -1)
    return Trials(np.array(likelihoods), np.array(truth), np.array(free))


def fit_temperature(log_likelihoods: np.ndarray, truth: np.ndarray) -> float:
    """The temperature, 0.05 to 20, with the least negative log-likelihood of the truth.

    log_likelihoods: float (N, K). truth: int (N,).
    """
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(log_likelihoods, truth, float(np.exp(log_t))),
        bounds=(np.log(0.05), np.log(20)),
        method="bounded",
    )
    return float(np.exp(found.x))


def negative_log_likelihood(log_likelihoods: np.ndarray, truth: np.ndarray, temperature: float) -> float:
    """Mean over regions of minus the log-probability of the right label, in nats."""
    return -float(log_softmax(log_likelihoods / temperature, axis=1)[np.arange(len(truth)), truth].mean())


def reliability(log_likelihoods: np.ndarray, truth: np.ndarray, temperature: float, bins: int = BINS) -> Reliability:
    """The best label's probability against how often it is right."""
    probabilities = np.exp(log_softmax(log_likelihoods / temperature, axis=1))
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, confidence, bins) / count
        accuracy = np.bincount(index, right, bins) / count
    share = count / len(truth)
    return Reliability(float(np.nansum(share * abs(mean_confidence - accuracy))), share, mean_confidence, accuracy)
