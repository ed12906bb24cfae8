"""Environments with and without fused kernels."""

from pages.findings import claim
from pages.markdown import paragraph, section, table
from recording import Row

MEASURES = {"one step": 0, "ten steps": 1, "rows off": 3, "greatest of all": 4}  # where a row of results has them
Group = tuple[str, str, int]


def render(runs: list[Row]) -> str:
    """The section."""
    right = sum(run["outcome"] == "right" for run in runs)
    header = ["jaxlib", "suite", "environments", "right", *(name for x in MEASURES for name in (x, "nudged")), "wrong"]
    return section(
        "Do environments step the same with and without XLA's fused kernels?",
        paragraph(
            f"{right} of {len(runs)} comparisons are right.",
            "Each takes 100 steps of random actions, as plain `jax.jit` and as rpo_jax compile them, against a program "
            "without XLA's library of fused kernels, from the states that the latter reached every ten steps. "
            "Differences are relative to 1 + |value|: of each environment the median over ten segments, and of these "
            "the greatest; then the share of all rows that are off by more than 0.1, and the greatest difference of "
            "any row.",
            _amplified(runs),
            "So beside each difference stands that which the program without fused kernels shows when its states are "
            "nudged by a millionth. Ten times that is allowed (for medians 0.1 at most, for any row 10 at least), and "
            "of rows twice the share and 0.2%. Errors that both programs share are not seen.",
        ),
        table(header, [_row(*item) for item in sorted(_groups(runs).items())]),
    )


def _groups(runs: list[Row]) -> dict[Group, list[Row]]:
    """By version, suite and size."""
    groups: dict[Group, list[Row]] = {}
    for run in runs:
        suite = run["env"].partition("/")[0] + (f", {run['backend']}" if run["env"].startswith("brax/") else "")
        groups.setdefault((run["jaxlib"], suite, run["num_envs"]), []).append(run)
    return groups


def _greatest(runs: list[Row], measure: str, program: str) -> float:
    """Of all environments and ways to compile; NaN if there is none."""
    ways = [way for run in runs for way in run.get("differences", {}).values()]
    return max((way[program][MEASURES[measure]] for way in ways), default=float("nan"))


def _amplified(runs: list[Row]) -> str:
    spring = [run for run in runs if run["backend"] == "spring"]
    one, ten = (_greatest(spring, measure, "nudged") for measure in ("one step", "ten steps"))
    return claim(
        f"Contacts amplify small differences: in Brax, backend `spring`, from {one:.0e} after one step to {ten:.0e} "
        "after ten.",
        ten > one,
    )


def _row(group: Group, runs: list[Row]) -> list[str]:
    release, suite, num_envs = group
    wrong = [f"{run['env'].partition('/')[2]} {run['outcome']}" for run in runs if run["outcome"] != "right"]
    found = [f"{_greatest(runs, measure, program):.0e}" for measure in MEASURES for program in ("steps", "nudged")]
    right = f"{len(runs) - len(wrong)} of {len(runs)}"
    return [release, suite, f"{num_envs:,}", right, *found, "; ".join(wrong)]
