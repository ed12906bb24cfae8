"""What other libraries can do beside rpo_jax, with the evidence: `peers/features.csv`."""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

from pages.markdown import paragraph, section, table

FEATURES = Path(__file__).parent.parent / "peers" / "features.csv"
REPOSITORIES = {
    "PureJaxRL": "luchris429/purejaxrl",
    "Stoix": "EdanToledo/Stoix",
    "CleanRL": "vwxyzjn/cleanrl",
}
PACKAGES = {"Rejax": "rejax", "Brax": "brax", "SBX": "sbx-rl", "skrl": "skrl"}
OURS = "rpo_jax"


class Claim(NamedTuple):
    """What a library can do, or cannot.

    Attributes:
        feature: what is asked.
        library: of which.
        has: the answer.
        version: release, or the beginning of a commit; that of this repository if empty.
        file: where it shows, in the wheel or in the repository.
        text: part of that file, if one line says it.
        shows: what else is to be said.
    """

    feature: str
    library: str
    has: str
    version: str
    file: str
    text: str
    shows: str


@functools.cache
def claims() -> tuple[Claim, ...]:
    """All claims, by feature and library."""
    with FEATURES.open(encoding="utf-8", newline="") as lines:
        return tuple(Claim(**row) for row in csv.DictReader(lines))


def libraries() -> list[str]:
    """The libraries, ours first."""
    return list(dict.fromkeys(claim.library for claim in claims()))


def by_feature() -> dict[str, dict[str, Claim]]:
    """The claims of each feature by library."""
    found: dict[str, dict[str, Claim]] = {}
    for claim in claims():
        found.setdefault(claim.feature, {})[claim.library] = claim
    return found


def render_table() -> str:
    """A row for each feature, a column for each library."""
    names = libraries()
    return table(["", *names], [[feature, *(of[name].has for name in names)] for feature, of in by_feature().items()])


def render_page() -> str:
    """The evidence of every claim."""
    *others, last = PACKAGES
    beginning = paragraph(
        "Every answer of the table in the README, with the release or commit and the file that shows it. A quoted text "
        f"is found in that file: `python benchmarks/features.py` looks for those of {', '.join(others)} and {last} in "
        "their wheels. Releases are the newest of November 2026; commits are those of the copies that were read, which "
        "need not be the newest."
    )
    return "\n\n".join([f"# Other libraries\n\n{beginning}", *map(_section, by_feature())]) + "\n"


def _section(feature: str) -> str:
    rows = [
        (claim.library, claim.has, _where(claim), _evidence(claim)) for claim in claims() if claim.feature == feature
    ]
    return section(feature, table(("library", "", "where", "what shows it"), rows))


def _where(claim: Claim) -> str:
    if claim.library == OURS:
        return f"[`{claim.file}`](../../{claim.file})"
    repository = REPOSITORIES.get(claim.library)
    if repository is None:
        return f"{claim.version}, `{claim.file}`"
    return f"[`{claim.file}`](https://github.com/{repository}/blob/{claim.version}/{claim.file})"


def _evidence(claim: Claim) -> str:
    text = claim.text.replace("|", "\\|")
    quoted = f"``{text}``" if "`" in text else f"`{text}`"
    return "; ".join(filter(None, [quoted if text else "", claim.shows]))
