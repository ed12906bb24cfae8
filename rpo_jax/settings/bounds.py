"""Bounds of what is evaluated and played, so that nothing is computed or allocated for a number that is a mistake."""

from rpo_jax.errors import SettingsError

MAX_EPISODES = 1_000_000  # of each policy in an evaluation
MAX_EVALUATIONS = 1_000_000  # of a run
MAX_STEPS = 10_000  # of an episode that is shown; as of those that are evaluated


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Checks that a whole number is in a range.

    Args:
        name: name of the setting, for the error.
        value: the number.
        low: the least value.
        high: the largest value.

    Raises:
        SettingsError: if it is not in the range.
    """
    if value < low:
        raise SettingsError(f"{name}={value} is out of range: it must be {low} or more")
    if value > high:
        raise SettingsError(f"{name}={value} is out of range: it must be {high} or less")


def check_evaluations(num_evaluations: int, evaluation_episodes: int) -> None:
    """Checks the number of evaluations during training, and of the episodes of each; raises as `check_range` does.

    Args:
        num_evaluations: number of evaluations.
        evaluation_episodes: number of episodes of each policy in an evaluation.
    """
    check_range("num_evaluations", num_evaluations, 0, MAX_EVALUATIONS)
    check_range("evaluation_episodes", evaluation_episodes, 1, MAX_EPISODES)
