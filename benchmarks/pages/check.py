"""What `rpo-jax check` finds."""

from pages.markdown import section
from recording import Row


def render(runs: list[Row]) -> str:
    """The section."""
    return section("What does `rpo-jax check` find?", *map(_told, sorted(runs, key=lambda run: run["jaxlib"])))


def _told(run: Row) -> str:
    output = "\n".join(run["output"])
    return f"jaxlib {run['jaxlib']}, exit code {run['exit_code']}, {run['seconds']:.0f} s:\n\n```\n{output}\n```"
