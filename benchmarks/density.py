"""The density of a normal policy, and that of its actions once a perturbation has shifted it (the paper's Fig 1)."""

import jax
import numpy as np
from scipy.stats import norm

from recording import Row
from rpo_jax.algorithm.heads import get_head
from rpo_jax.algorithm.perturbation import uniform

ALPHA = 3.0  # in units of sigma, which is 1
SAMPLES = 1_000_000
EDGES = np.linspace(-8.0, 8.0, 81)


def density() -> Row:
    """Both densities, and a histogram of what the library draws, at the middles of 80 intervals."""
    x = (EDGES[1:] + EDGES[:-1]) / 2
    noise, shift = jax.random.split(jax.random.key(0))
    drawn = get_head("normal").noise(noise, (SAMPLES,)) + ALPHA * uniform(shift, (SAMPLES,))
    counts, _ = np.histogram(np.asarray(drawn), EDGES)
    return {
        "label": "density",
        "alpha": ALPHA,
        "x": x.round(6).tolist(),
        "normal": norm.pdf(x).round(6).tolist(),
        "perturbed": ((norm.cdf(x + ALPHA) - norm.cdf(x - ALPHA)) / (2 * ALPHA)).round(6).tolist(),
        "drawn": (counts / SAMPLES / np.diff(EDGES)).round(6).tolist(),
        "samples": SAMPLES,
        "drawn_std": float(np.std(np.asarray(drawn), dtype=float)),
    }
