"""Sentences of findings, which have to hold in the results that they speak of."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Falsified(Exception):
    """A sentence of the page that the results contradict."""


def claim(sentence: str, holds: bool | np.bool_) -> str:
    """The sentence, if it holds.

    Raises:
        Falsified: if it does not.
    """
    if not holds:
        raise Falsified(sentence)
    return sentence


class Difference(NamedTuple):
    """How far the mean of one sample is above that of another.

    Attributes:
        mean: of the first, less that of the second.
        error: its standard error.
    """

    mean: float
    error: float

    def within(self, errors: float) -> bool:
        """Whether it is at most so many standard errors from 0."""
        return abs(self.mean) <= errors * self.error

    def __str__(self) -> str:
        return f"{self.mean:+.0f} +- {self.error:.0f}"


def difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """The difference of two independent samples."""
    error = np.hypot(*(np.std(x, ddof=1) / np.sqrt(len(x)) for x in (a, b)))
    return Difference(float(np.mean(a) - np.mean(b)), float(error))
