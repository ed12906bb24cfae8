"""`rpo-jax envs` and `check`: the available environments, and whether this machine computes correctly."""

from rpo_jax.cli.commands import Check, Envs
from rpo_jax.errors import unknown_name


def envs(options: Envs) -> int:
    """Lists suites and their tasks.

    Args:
        options: options of the command.

    Returns:
        The exit code.

    Raises:
        SettingsError: if a suite is unknown.
    """
    from importlib.util import find_spec

    from rich.console import Console

    from rpo_jax.envs import ENVIRONMENTS, SUITES
    from rpo_jax.registry import import_modules

    import_modules(options.imports)
    for name in options.suites:
        if name not in SUITES:
            raise unknown_name("suite", name, SUITES)
    console = Console(stderr=True)
    for name in options.suites or SUITES:
        suite = SUITES[name]
        if not find_spec(suite.module):
            print(f"{name}: not installed; pip install 'rpo_jax[{name}]'")
            continue
        with console.status(f"listing the tasks of {name}"):
            tasks = suite.tasks()
        print(f"{name}: observations, actions")
        for task, (observation_size, action_size) in tasks.items():
            print(f"  {name}/{task}: {observation_size}, {action_size}")
        for more, package in suite.more.items():
            if not find_spec(more):
                print(f"  and more with: pip install {package}")
    if ENVIRONMENTS.registered:
        print("registered:", *ENVIRONMENTS.registered, sep="\n  ")
    return 0


def check(options: Check) -> int:
    """Runs the checks of this machine.

    Args:
        options: options of the command.

    Returns:
        The exit code: 1 if a check failed.
    """
    from rich.console import Console

    from rpo_jax.diagnosis.checks import checks_of
    from rpo_jax.diagnosis.machine import describe_machine
    from rpo_jax.diagnosis.processes import run_checks

    print(*describe_machine(), sep="\n", flush=True)
    groups, remedies = [list(group) for group in checks_of(long=options.long)], []
    left = sum(map(len, groups))
    with Console(stderr=True).status(f"{left} checks") as status:
        for name, finding in run_checks(groups):
            print(f"{'ok' if finding.ok else 'WRONG':5} {name}: {finding.text}", flush=True)
            left -= 1
            status.update(f"{left} checks to go")
            remedies += [] if finding.ok or finding.remedy in remedies else [finding.remedy]
    if remedies:
        print("not all is right here; what to do:", *remedies, sep="\n  ")
    return 1 if remedies else 0
