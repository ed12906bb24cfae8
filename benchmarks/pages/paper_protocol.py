"""How much do the differences between preset `paper` and the published program matter?"""

from collections.abc import Iterator

from experiments import PUBLISHED_PROGRAM
from pages.markdown import bullets, paragraph
from pages.paper import Comparison, interval
from pages.paper_runs import Group, Runs, diverged_told
from recording import Row
from rpo_jax.analysis.verdict import judge

DIFFERENCES = (
    "Observations: the published program updates their moments at every step, before they are used, and with the last "
    "observation of an episode too; rpo_jax keeps those of the rounds before for a whole round, so that the first one "
    "sees raw observations, and counts what was acted on.",
    "Rewards: the published program divides each by the deviation of the discounted returns up to its step; rpo_jax "
    "divides those of a round by the deviation of all returns up to its end.",
    "Of little effect: the published program adds 1e-6 to the norm of a gradient that it clips, begins its moments "
    "with 1e-4 samples, which is felt in the first steps, and sums them in float64 (the transcription in float32); "
    "rpo_jax bounds ratios of probabilities at exp(30).",
    "Other random numbers of the same distributions: rpo_jax draws the noise of a round's actions at once, and initial "
    "states beforehand.",
)


def _setting(part: Row) -> str:
    return part["call"].get("program", "")


PAGE = Comparison(
    "protocol",
    f"The {PUBLISHED_PROGRAM} is `published_program.py`, a transcription of CleanRL's `rpo_continuous_action.py` and "
    "of gym 0.23's wrappers; what it shares with rpo_jax is gymnax's Pendulum alone. Where it is not named, the runs "
    "are those of preset `paper`.",
    _setting,
)


def render(parts: list[Row]) -> str:
    """The section."""
    return PAGE.render(
        parts, bullets(differences(PAGE.groups(parts))), paragraph("What differs:"), bullets(DIFFERENCES)
    )


def differences(groups: dict[Group, dict[str, Runs]]) -> Iterator[str]:
    """For each task and method: the mean return with rpo_jax less that with the published program."""
    for group, methods in groups.items():
        published = groups.get(group._replace(setting=PUBLISHED_PROGRAM), {})
        if group.setting or not {"ppo", "rpo"} <= set(methods) & set(published):
            continue
        advantage = judge(published["rpo"].returns, published["ppo"].returns).difference
        for name in ("ppo", "rpo"):
            verdict = judge(methods[name].returns, published[name].returns)
            if verdict.difference is None or advantage is None:
                continue
            low, high = sorted(bound / advantage.value for bound in verdict.difference[1:])
            both = {"preset `paper`": methods[name], f"the {PUBLISHED_PROGRAM}": published[name]}
            lost = diverged_told(both, *both)
            told = (
                f"{group}, {name}: the mean return of preset `paper` less that of the published program is "
                f"{interval(verdict.difference, '+')}, {low:.0%} to {high:.0%} of what lies between RPO and PPO there"
                f"{f' ({lost})' * bool(lost)}"
            )
            yield f"{told}: they differ." if verdict.sign else f"{told}: with these seeds no difference is decided."
