"""`rpo-jax merge`."""

from rpo_jax.cli.commands import Merge
from rpo_jax.cli.process import set_up_jax
from rpo_jax.cli.report import report
from rpo_jax.errors import SettingsError


def merge(options: Merge) -> int:
    """Joins the shards of a sweep into the folder of the whole.

    Args:
        options: options of the command.

    Returns:
        The exit code.

    Raises:
        SettingsError: if the shards are not those of one sweep, all of them finished, or the folder is not free.
    """
    from rpo_jax.runs.folder import shards_in
    from rpo_jax.runs.merge import merge

    out = options.out
    if out is None and len(options.folders) == 1 and shards_in(options.folders[0]):
        out = options.folders[0]
    if out is None or not options.folders:
        found = f"{options.folders[0]} holds no folders such as shard-1-of-4; " if len(options.folders) == 1 else ""
        raise SettingsError(f"{found}give one folder that holds shards, or folders of shards and --out")
    set_up_jax(options.imports, 1)
    merged = merge(options.folders, out)
    return report([summary for _, summary in merged], [spec for spec, _ in merged], out, options.imports)
