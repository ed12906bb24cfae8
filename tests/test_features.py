"""The table of what other libraries can do rests on what their files say."""

import zipfile
from pathlib import Path

import pytest

import features
from pages.features import PACKAGES, REPOSITORIES, by_feature, claims, libraries, render_table

ROOT = Path(__file__).parent.parent


def test_every_library_has_an_answer_to_every_question() -> None:
    assert set(libraries()) == {"rpo_jax", *PACKAGES, *REPOSITORIES}
    for feature, of in by_feature().items():
        assert set(of) == set(libraries()), feature
    assert len(render_table().splitlines()) == 2 + len(by_feature())


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: f"{claim.library}: {claim.feature}")
def test_every_answer_says_where_it_shows(claim: features.Claim) -> None:
    assert claim.has
    assert claim.file
    assert claim.text or claim.shows or claim.library == "rpo_jax"
    if claim.library == "rpo_jax":
        assert (ROOT / claim.file).is_file()
    elif claim.library in REPOSITORIES:
        assert len(claim.version) == 12  # of a commit
    else:
        assert claim.version.replace(".", "").isdigit()


def test_a_quotation_is_looked_for_in_its_file(tmp_path: Path) -> None:
    quoting = [claim for claim in claims() if claim.library == "Rejax" and claim.text]
    with zipfile.ZipFile(tmp_path / "rejax.whl", "w") as wheel:
        for file in {claim.file for claim in quoting}:
            wheel.writestr(file, "\n".join(claim.text for claim in quoting if claim.file == file))
    assert list(features.lacking(tmp_path / "rejax.whl", quoting)) == []
    changed = [claim._replace(text=claim.text + "!") for claim in quoting]
    assert list(features.lacking(tmp_path / "rejax.whl", changed)) == changed
