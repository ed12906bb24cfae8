"""Policies trained in one suite and scored in others."""

import numpy as np

from pages.findings import claim
from pages.markdown import enumeration, paragraph, section, table
from recording import Row

HEADER = ("suite", "return: mean", "each policy", "against the suite it was trained in", "mean square of z")


def render(runs: list[Row]) -> str:
    """The section."""
    by_task = {run["task"]: run["returns"] for run in runs}
    return section(
        "Is a task the same in every suite?",
        paragraph(
            "Policies trained in the first suite of each task play 128 episodes with their mean actions in every "
            "suite. Differences are given with their standard errors over episodes. z is the difference divided by its "
            "standard error; its mean square is near 1 where suites differ only by chance.",
        ),
        paragraph(_pendulum(by_task["Pendulum-v1"]), _cartpole(by_task["CartpoleBalance"])),
        table(HEADER, [_row(run["returns"], suite) for run in runs for suite in run["returns"]]),
    )


def _differences(returns: dict[str, list[list[float]]], suite: str) -> tuple[np.ndarray, np.ndarray]:
    """Of each policy's return from that in the suite where it was trained, and their standard errors."""
    (own, own_errors), (other, errors) = (np.asarray(returns[name]).T for name in (next(iter(returns)), suite))
    return other - own, np.hypot(errors, own_errors)


def _mean_square(returns: dict[str, list[list[float]]], suite: str) -> float:
    differences, errors = _differences(returns, suite)
    return float(np.mean((differences / errors) ** 2))


def _is_chance(returns: dict[str, list[list[float]]], suite: str) -> bool:
    """Whether the mean square of z is within three standard errors of 1."""
    return _mean_square(returns, suite) < 1 + 3 * np.sqrt(2 / len(returns[suite]))


def _pendulum(returns: dict[str, list[list[float]]]) -> str:
    own, *others = returns
    found = [_differences(returns, suite) for suite in others]
    means = [f"{x.mean():+.1f} +- {np.linalg.norm(errors) / len(errors):.1f}" for x, errors in found]
    return claim(
        f"No difference shows on Pendulum: over all policies it is {enumeration(means)}, of a return of "
        f"{np.mean(np.asarray(returns[own])[:, 0]):.0f}.",
        all(_is_chance(returns, suite) for suite in others),
    )


def _cartpole(returns: dict[str, list[list[float]]]) -> str:
    own, other = returns
    differences, errors = _differences(returns, other)
    clear = differences[np.abs(differences) > 2 * errors]
    most = np.max(np.abs(differences) / np.asarray(returns[own])[:, 0])
    return claim(
        f"CartpoleBalance is not quite the same in MJX and MuJoCo: returns differ by up to {most:.0%}, and are higher "
        "for some policies and lower for others.",
        not _is_chance(returns, other) and clear.size > 0 and clear.min() < 0 < clear.max(),
    )


def _row(returns: dict[str, list[list[float]]], suite: str) -> list[str]:
    means = [mean for mean, _ in returns[suite]]
    row = [suite, f"{np.mean(means):.1f}", ", ".join(f"{mean:.1f}" for mean in means)]
    if suite == next(iter(returns)):
        return [*row, "", ""]
    pairs = zip(*_differences(returns, suite), strict=True)
    return [*row, ", ".join(f"{x:+.1f} +- {error:.1f}" for x, error in pairs), f"{_mean_square(returns, suite):.1f}"]
