"""The libraries that are compared, and a Python for each."""

import dataclasses
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from works import Work

VENVS = Path(__file__).parent / ".venvs"


@dataclasses.dataclass(frozen=True)
class Library:
    """One library.

    Attributes:
        worker: its program in `peers/`.
        requirements: what is installed for it; None if it runs in this script's environment.
        suites: that it can train on.
        most_seeds: that it can train in reasonable time.
        updates_share: of a work's rounds that it is given, where all of them would take too long.
        differs: how its work is not the same.
    """

    worker: str
    requirements: tuple[str, ...] | None
    suites: tuple[str, ...] = ("gymnax", "brax")
    most_seeds: int | None = None
    updates_share: float = 1.0
    differs: str = ""

    def can(self, work: Work) -> bool:
        """Whether it can train this."""
        return work.env.partition("/")[0] in self.suites and work.seeds <= (self.most_seeds or work.seeds)

    def part(self, work: Work) -> Work:
        """As much of the work as it is given."""
        return dataclasses.replace(work, updates=max(1, round(self.updates_share * work.updates)))


LIBRARIES = {
    "rpo_jax": Library("ours.py", None),
    "Rejax": Library(
        "rejax_ppo.py",
        ("rejax==0.1.3", "gymnax==0.0.9", "brax==0.14.2", "jax==0.10.1"),
        differs="resets every environment at every step, in case its episode ends; treats a time limit as the end of "
        "the task; shuffles single samples; updates the normalisation statistics at every step; has an optimiser "
        "each for policy and value; clips the gradient element by element; runs as one XLA device on a CPU, whose "
        "operations use all cores",
    ),
    "Brax PPO": Library(
        "brax_ppo.py",
        ("brax==0.14.2", "jax==0.9.2", "jaxlib==0.9.2"),  # jax 0.10 lacks what it calls
        suites=("brax",),
        most_seeds=1,
        differs="does not normalise rewards; starts every episode of an environment from the same state; gives no "
        "advantage to steps that a time limit cuts; normalises observations and computes advantages anew for each "
        "minibatch; continues the same run from call to call, so that only the first call initialises; compiles in its "
        "first two calls, which count as one",
    ),
    "SBX": Library(
        "sbx_ppo.py",
        ("sbx-rl==0.28.0", "stable-baselines3==2.9.2", "gymnasium==1.4.0", "jax==0.10.1", "torch==2.13.0"),
        suites=("gymnax",),
        most_seeds=10,
        updates_share=1 / 30,
        differs="steps Gymnasium's Pendulum, one environment after another in Python, and only for 1/30 of the rounds; "
        "trains one seed after another; continues with the same networks from call to call; shuffles single samples; "
        "updates the normalisation statistics at every step; does not clip the value loss; has an optimiser each for "
        "policy and value",
    ),
}


class Failure(Exception):
    """What a library could not do, for a person to read."""


def given_pythons(items: tuple[str, ...]) -> dict[str, str]:
    """Paths by library, from arguments LIBRARY=PATH."""
    return {library: path for library, _, path in (item.partition("=") for item in items)}


def python_of(library: str, given: dict[str, str]) -> str:
    """The Python that has a library: this one, one that was given, or one that is made here.

    Raises:
        Failure: if it could not be installed.
    """
    requirements = LIBRARIES[library].requirements
    if requirements is None or library in given:
        return given.get(library, sys.executable)
    return installed_python(library.lower().replace(" ", "-"), requirements)


def installed_python(name: str, requirements: Sequence[str]) -> str:
    """The Python of an environment that is made here, if it is not there, with what pip is asked to install.

    Raises:
        Failure: if it could not be installed.
    """
    folder = VENVS / name
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {' '.join(requirements)}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", *requirements]
        installed = subprocess.run(pip, stderr=subprocess.PIPE, text=True)
        if installed.returncode:
            shutil.rmtree(folder)  # what is half installed would be taken for installed
            raise Failure(f"could not be installed:\n{last_lines(installed.stderr)}")
    return str(python)


def last_lines(text: str) -> str:
    """The end of a program's complaint."""
    return "\n".join(text.splitlines()[-12:])
