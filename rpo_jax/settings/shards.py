"""Shards of a sweep: rectangles of its settings and seeds, each of which one job trains."""

import dataclasses

from rpo_jax.errors import SettingsError


@dataclasses.dataclass(frozen=True)
class Shard:
    """Which part of a sweep a run is.

    Attributes:
        index: number of the shard, from 1 on.
        count: number of shards of the sweep.
        first_setting: index in the sweep of the shard's first setting.
        sweep: digest of the settings of the whole sweep.
    """

    index: int
    count: int
    first_setting: int
    sweep: str

    def __str__(self) -> str:
        """Returns the shard as the command takes it, such as "3/16"."""
        return f"{self.index}/{self.count}"


def cut(num_settings: int, num_seeds: int, count: int) -> tuple[int, int]:
    """Chooses how a sweep is cut, so that the largest shard is as small as possible, and seeds are cut least.

    Args:
        num_settings: number of settings, H.
        num_seeds: number of seeds, S.
        count: number of shards.

    Returns:
        The number of blocks of settings and the number of blocks of seeds, whose product is `count`.

    Raises:
        SettingsError: if there is none; the message names the nearest counts that can be used.
    """
    if found := _cuts(num_settings, num_seeds, count):
        return min(found, key=lambda blocks: (-(-num_settings // blocks[0]) * -(-num_seeds // blocks[1]), blocks[1]))
    most = num_settings * num_seeds
    fewer, more = range(min(count - 1, most), 0, -1), range(max(count, 0) + 1, most + 1)
    near = [next((n for n in counts if _cuts(num_settings, num_seeds, n)), None) for counts in (fewer, more)]
    raise SettingsError(
        f"{num_settings} settings x {num_seeds} seeds cannot be cut into {count} shards, as rectangles; near it are "
        f"{' and '.join(str(n) for n in near if n)}"
    )


def _cuts(num_settings: int, num_seeds: int, count: int) -> list[tuple[int, int]]:
    seeds = (n for n in range(1, min(num_seeds, count) + 1) if count % n == 0)
    return [(count // n, n) for n in seeds if count // n <= num_settings]


def block(total: int, blocks: int, index: int) -> slice:
    """Returns the items of block `index` of `total` items, which are cut into `blocks` as equal as possible."""
    return slice(index * total // blocks, (index + 1) * total // blocks)
