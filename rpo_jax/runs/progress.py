"""Display of progress during training, and of results at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from rpo_jax.analysis.intervals import FEWEST, bounds_of_mean
from rpo_jax.errors import one_line
from rpo_jax.execution.fit import Progress as FitProgress
from rpo_jax.runs.tables import folding_table, in_lines
from rpo_jax.settings.grid import num_settings
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

SECONDS_BETWEEN_LINES = 10.0
SECONDS_OF_SPEED = 60.0  # over which it is measured: an earlier session may have had another machine
# Columns of a bar that are not its name and numbers: "100%", the time left, the least bar, and a space after each.
AROUND = len("100% ") + len("00:00:00 ") + len("---- ") + len(" ")
EXPENDABLE = ("speed", "steps", "entropy", "eval")  # numbers that are left out where there is no room, first to last


class ProgressBar:
    """A progress bar with steps of each run, mean return and entropy over runs, and steps per second of all runs.

    If the console is not a terminal, it prints a line every ten seconds instead.
    """

    def __init__(self, console: Console, spec: RunSpec):
        """Creates a bar that is not shown yet.

        Args:
            console: where to show it.
            spec: specification of the run.
        """
        self._console = console
        self._spec = spec
        self._runs = num_settings(spec.hyperparams) * len(spec.seeds)
        self._return = np.nan
        self._evaluated = np.nan
        self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._total = spec.config.num_updates * spec.config.round_timesteps
        self._began: int | None = None
        self._seen: list[tuple[int, float]] = []  # steps and training time of the last minute
        self._task = self._bar.add_task(f"{spec.variant}: compiling", total=self._total, numbers="")

    @contextmanager
    def show(self) -> Iterator["ProgressBar"]:
        """Shows the bar while the block runs.

        Yields:
            The bar.
        """
        if not self._console.is_terminal:  # compiling can take a minute
            self._console.print(f"{self._spec.variant}: compiling", highlight=False, soft_wrap=True)
        with self._bar:
            yield self

    def __call__(self, progress: FitProgress) -> None:
        """Shows the progress after a segment of training."""
        returns = progress.metrics["episode_return"]
        if not np.isnan(returns).all():
            self._return = np.nanmean(returns)
        if self._began is None:
            self._began = progress.updates - returns.shape[-1]
            if self._began:
                self._console.print(f"going on from update {self._began:,} of {self._spec.config.num_updates:,}")
        steps = progress.updates * self._spec.config.round_timesteps
        speed = self._speed(steps, progress.seconds)
        entropies = progress.metrics["entropy"][..., -1]
        known = entropies[~np.isnan(entropies)]  # without runs that diverged
        entropy = known.mean() if known.size else np.nan
        seen = "-" if np.isnan(self._return) else f"{self._return:,.1f}"  # no episode has ended yet
        if progress.returns is not None:
            self._evaluated = progress.returns.mean()
        numbers = {"return": f"return {seen}"}
        if not np.isnan(self._evaluated):
            numbers["eval"] = f"eval {self._evaluated:,.1f}"
        numbers |= {"entropy": f"entropy {entropy:.2f}", "speed": f"{_short(speed * self._runs)} steps/s"}
        name = one_line(self._spec.variant, self._console.width // 4)
        shown = {"steps": f"{_short(steps)}/{_short(self._total)}", **numbers}
        text = _fitting(shown, self._console.width - AROUND - len(name))
        self._bar.update(self._task, completed=steps, description=name, numbers=text)
        if not self._console.is_terminal and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = timedelta(seconds=round((self._total - steps) / speed))
            share = f"{steps:,} of {self._total:,} steps ({steps / self._total:.0%})"
            self._console.print(
                "  ".join((f"{self._spec.variant}: {share}", *numbers.values(), f"{left} left")),
                highlight=False,
                soft_wrap=True,
            )

    def _speed(self, steps: int, seconds: float) -> float:
        """Steps of each run per second in the last minute; since training began, at the first report of a session."""
        self._seen.append((steps, seconds))
        while len(self._seen) > 2 and seconds - self._seen[1][1] >= SECONDS_OF_SPEED:
            self._seen.pop(0)
        before, then = self._seen[0]
        return (steps - before) / (seconds - then) if then < seconds else steps / seconds


def _fitting(numbers: dict[str, str], room: int) -> str:
    """The numbers in one line of at most so many characters, without `EXPENDABLE` ones if necessary."""
    kept = dict(numbers)
    for name in EXPENDABLE:
        if len("  ".join(kept.values())) > room:
            kept.pop(name, None)
    return "  ".join(kept.values())


def _short(number: float) -> str:
    """A number with three digits, such as 1.02M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}" if number < 999.5 * size else f"{number / size:.0f}{unit}"
    return f"{number:.0f}"


def results_table(summaries: list[JsonObject], labels: list[list[str]]) -> Table:
    """Creates a table of final return and entropy of every setting: the mean over seeds, and its interval.

    Of fewer than three seeds there is no interval, and the worst and the best seed are shown instead.

    Args:
        summaries: summaries of the runs.
        labels: labels of the settings of each run.

    Returns:
        The table.
    """
    evaluated = any(summary.get("final_evaluation") for summary in summaries)
    counts = list(dict.fromkeys(len(summary["final_return"][0]) for summary in summaries))
    between, spread = (["95% interval"], _interval) if min(counts) >= FEWEST else (["worst", "best"], _extremes)
    title = f"last 5% of updates, {' or '.join(map(str, counts))} seed{'s' * (counts != [1])}"
    words = ("variant", "setting") if any(map(any, labels)) else ("variant",)
    table = folding_table(title, words, ["return", *between, "entropy", *(["eval"] if evaluated else [])])
    for summary, names in zip(summaries, labels, strict=True):
        for index, name in enumerate(names):
            returns, entropies = (_numbers(summary, kind, index) for kind in ("final_return", "final_entropy"))
            cells = [f"{returns.mean():,.1f}", *spread(returns)]
            cells.append(f"{entropies.mean():.2f}")
            if summary.get("final_evaluation"):
                cells.append(f"{_numbers(summary, 'final_evaluation', index).mean():,.1f}")
            table.add_row(*(summary["variant"], in_lines(name))[: len(words)], *cells)
    return table


def _extremes(returns: np.ndarray) -> list[str]:
    return [f"{returns.min():,.1f}", f"{returns.max():,.1f}"]


def _interval(returns: np.ndarray) -> list[str]:
    """Both bounds in one cell, short, since the table is to fit into 80 columns."""
    low, high = (f"{bound:,.1f}" if abs(bound) < 1000 else f"{bound:,.0f}" for bound in bounds_of_mean(returns))
    return [f"{low} to {high}"]


def _numbers(summary: JsonObject, kind: str, setting: int) -> np.ndarray:
    """Of each seed; null, as of a seed that diverged, is NaN."""
    return np.array(summary[kind][setting], float)
