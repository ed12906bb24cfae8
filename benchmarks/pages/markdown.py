"""Parts of the page."""

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np


def section(title: str, *blocks: str) -> str:
    """A section of these blocks; empty ones are left out."""
    return "\n\n".join([f"## {title}", *filter(None, blocks)])


def paragraph(*sentences: str) -> str:
    """Sentences, in lines of at most 120 characters; empty ones are left out."""
    text = " ".join(filter(None, sentences))
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def picture(alt: str, name: str) -> str:
    """The picture `results/NAME.png`."""
    return f"![{alt}](results/{name}.png)"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def bullets(items: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {item}" for item in items)


def alternatives(values: Iterable[str]) -> str:
    """The distinct values, as in "3 or 5"."""
    return " or ".join(dict.fromkeys(values))


def enumeration(values: Sequence[str]) -> str:
    """Values as in "1, 2 and 3"."""
    return " and ".join(filter(None, [", ".join(values[:-1]), *values[-1:]]))


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean and standard deviation of a sample."""
    return f"{np.mean(values):,.0f} +- {np.std(values, ddof=1):,.0f}"


def worst_and_best(values: Sequence[float]) -> str:
    """The range of a sample of returns."""
    return f"{min(values):,.0f} ... {max(values):,.0f}"


def number(value: float) -> str:
    """A return, with a decimal where it is small, and two near 0."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 1 else 2
    return f"{round(value, digits) + 0.0:,.{digits}f}"  # 0 has no sign


def listed(values: Iterable[float]) -> str:
    """Values as in "1, 2, 3", without decimals."""
    return ", ".join(f"{value:,.0f}" for value in values)


def in_seconds(value: float) -> str:
    """A duration."""
    return f"{value:.1f} s"


def in_mib(size: float) -> str:
    """A number of bytes."""
    return f"{size / 2**20:,.1f} MiB"
