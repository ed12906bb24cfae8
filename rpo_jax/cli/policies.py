"""`rpo-jax evaluate`, `play` and `export`: uses of the policies of a run."""

from rpo_jax.cli.commands import Evaluate, Export, Play
from rpo_jax.cli.process import keep_programs, set_up_jax


def evaluate(options: Evaluate) -> int:
    """Evaluates all policies of a run, or of each run of a comparison, and prints their returns.

    Args:
        options: options of the command.

    Returns:
        The exit code.

    Raises:
        SettingsError: if an option is out of range, or the folder cannot be read.
    """
    from rich.console import Console

    from rpo_jax.runs.compare import parts_of_comparison
    from rpo_jax.runs.evaluate import evaluate_run, evaluation_table
    from rpo_jax.runs.results import load_run
    from rpo_jax.settings.grid import check_seeds

    set_up_jax(options.imports, 1)
    check_seeds(options.seed, 1)
    folders = parts_of_comparison(options.folder) or [options.folder]
    runs = [load_run(folder, best=options.best) for folder in folders]
    keep_programs(options, Console(stderr=True))
    returns = [evaluate_run(run, options.num_episodes, options.sample, options.seed) for run in runs]
    specs = {folder.name: run.spec for folder, run in zip(folders, runs, strict=True)}
    Console().print(evaluation_table(specs, returns, options.sample))
    return 0


def play(options: Play) -> int:
    """Plays an episode with one policy, writes it to a file, and shows it.

    Args:
        options: options of the command.

    Returns:
        The exit code.

    Raises:
        SettingsError: if an option is out of range, or the folder cannot be read.
    """
    from rich.console import Console

    from rpo_jax.runs.choose import choose, clip_of, policy_of
    from rpo_jax.runs.results import load_run
    from rpo_jax.settings.grid import check_seeds
    from rpo_jax.settings.spec import run_label
    from rpo_jax.visual.play import Player, play, render_off_screen, show, suffix_of

    check_seeds(options.episode_seed, 1)
    render_off_screen()
    set_up_jax(options.imports, 1)
    run = load_run(options.folder, best=options.best)
    place = choose(options.folder, run, options.setting, options.seed, options.best)
    path = options.out or options.folder / f"play{suffix_of(run.spec.env)}"
    label = run_label(run.spec, *place)
    with Console(stderr=True).status(f"playing {label}") as status:
        parts = run.agent, policy_of(run, place), clip_of(run, place)
        player = Player(*parts, options.episode_seed, options.max_steps, options.sample)
        total = play(player, path, lambda count: status.update(f"playing {label}: {count} frames"))
    print(f"{label}: return {total:,.1f}; {path}")
    if options.open:
        show(path)
    return 0


def export(options: Export) -> int:
    """Exports one policy as programs.

    Args:
        options: options of the command.

    Returns:
        The exit code.
    """
    from rich.console import Console

    from rpo_jax.export.policy import export, why_no_onnx
    from rpo_jax.runs.choose import choose
    from rpo_jax.runs.results import load_run
    from rpo_jax.settings.spec import run_label

    set_up_jax(options.imports, 1)
    run = load_run(options.folder, best=options.best)
    place = choose(options.folder, run, options.setting, options.seed, options.best)
    path = options.out or options.folder
    with Console(stderr=True).status(f"exporting {run_label(run.spec, *place)}"):
        differences = export(run, place, path)
    print(f"{run_label(run.spec, *place)}; largest difference from the policy over observations of all magnitudes:")
    for name, difference in differences.items():
        print(f"  {path / name}: {difference:.1e}")
    if "policy.onnx" not in differences:
        print(f"  no ONNX: {why_no_onnx(run.agent)}")
    return 0
