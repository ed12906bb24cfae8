"""Tables that can be read at 80 columns: cells are folded, and nothing of them is cut off."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

MOST_WIDTH = 78


def folding_table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    """Creates a table without rows.

    Args:
        title: its title.
        words: headers of the first columns, which hold text.
        numbers: headers of the other columns, which hold numbers.

    Returns:
        The table.
    """
    wide = min(len(title), MOST_WIDTH)  # a title is in one line then
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, min_width=wide)
    for column in words:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right", overflow="fold")
    return table


def in_lines(label: str) -> str:
    """Returns the label of a setting with a line for each hyperparameter."""
    return label.replace(", ", "\n")
