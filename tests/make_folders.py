"""Makes an archive in `data/` of run folders of this version; `test_old_folders.py` tests those of every version.

For each release: `python tests/make_folders.py`. It replaces the archive of this version, and no earlier one: those are
the folders that users have.
"""

import os
import shlex
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import toys

import rpo_jax
from rpo_jax.cli.main import main
from rpo_jax.runs.settings import FORMAT

DATA = Path(__file__).parent / "data"
ARCHIVE = DATA / f"folders_{rpo_jax.__version__}_format_{FORMAT}.zip"
SIZES = shlex.split(
    "--num-envs 4 --num-steps 8 --num-epochs 2 --num-minibatches 2 --hidden-sizes 8 --total-timesteps 640"
)
LEFT_OUT = ("curves.png",)


def train(*arguments: str, expected: int = 0) -> None:
    """Trains with the command into the current folder."""
    assert main([*arguments, *SIZES]) == expected


def make_folders() -> None:
    """Fills the current folder: a finished run, and others that were stopped after 5 of 20 updates or a few more.

    The module of own names is kept beside them, since the checkpoints have digests of its source.
    """
    shutil.copy(DATA / "own_names.py", "own_names.py")
    state = ["--std", "state", "--num-evaluations", "4", "--evaluation-episodes", "2"]
    train("train", *state, "--num-seeds", "2", "--rpo-alpha", "0.1", "0.5", "--out", "finished")
    with toys.stopped_after(5):
        train("train", *state, "--num-seeds", "2", "--out", "stopped", expected=130)
        train("train", "--std", "state", "--num-seeds", "2", "--variant", "drac-kl", "--init-from", "finished",
              "--out", "begun", expected=130)  # fmt: skip
        own = ["--variant", "gaussian", "--head", "logistic", "--network", "one-body", "--import", "own_names"]
        train("train", "mine/slide", *own, "--num-seeds", "2", "--out", "own", expected=130)
        train("compare", "--num-seeds", "1", "--out", "compared", expected=130)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.path.insert(0, folder)
        make_folders()
        with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(Path().rglob("*")):
                if path.name not in LEFT_OUT and "__pycache__" not in path.parts:
                    archive.write(path)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size / 1e3:.0f} kB")
