"""Do the libraries that the README is compared with still say what `peers/features.csv` quotes?

Downloads the wheels of those that are packages, in the versions that are named there or in the newest ones, and prints
the quotations that are not found. It writes no results.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import tyro

from pages.features import PACKAGES, Claim, claims


def main(newest: bool = False) -> None:
    """Looks for every quotation; exit code 1 if one is missing.

    Args:
        newest: in the newest releases, and not in those that were read.
    """
    missing = [
        f"{claim.library}: {claim.file} lacks {claim.text!r} ({claim.feature})"
        for library in PACKAGES
        for claim in not_found(library, newest)
    ]
    sys.exit("\n".join(missing) or 0)


def not_found(library: str, newest: bool) -> Iterator[Claim]:
    """The claims about a library whose quotation its wheel lacks.

    Args:
        library: one of `PACKAGES`.
        newest: in its newest release.
    """
    quoting = [claim for claim in claims() if claim.library == library and claim.text]
    with tempfile.TemporaryDirectory() as folder:
        wanted = PACKAGES[library] + ("" if newest else f"=={quoting[0].version}")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", folder, wanted], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        yield from lacking(wheel, quoting)


def lacking(wheel: Path, quoting: list[Claim]) -> Iterator[Claim]:
    """The claims whose quotation is not in the file that they name; files of its metadata go by their last name."""
    with zipfile.ZipFile(wheel) as archive:
        texts = {_key(name): archive.read(name).decode(errors="replace") for name in archive.namelist()}
    for claim in quoting:
        if claim.text not in texts.get(_key(claim.file), ""):
            yield claim


def _key(name: str) -> str:
    return name.partition(".dist-info/")[2] or name


if __name__ == "__main__":
    tyro.cli(main)
