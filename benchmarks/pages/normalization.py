"""How the normalisation of preset `paper` differs from the published script's."""

from pages.findings import claim
from pages.markdown import paragraph, section, table
from recording import Row


def render(runs: list[Row]) -> str:
    """The section."""
    first = [run for run in runs if run["update"] == 1]
    late = [run for run in runs if run["update"] >= 10]
    error = max(run["observations"] for run in late)
    apart = max(abs(run["rewards of 0.26.3"] - 1) for run in late)
    lowest = min(run["rewards"] for run in late)
    return section(
        "How far is the normalisation of preset `paper` from that of the published script?",
        paragraph(
            "The script normalises each observation and reward by running moments that already include it. rpo_jax "
            "keeps the moments of observations during an update, so that the first update sees them raw, and scales "
            "rewards by moments that include the whole update. Both were applied to the same steps: the root mean "
            "square of the difference of normalised observations, and the median of the ratio of the factors of "
            "rewards, ours by the script's.",
            claim(
                "In the first update the inputs of the networks are different ones.",
                all(run["observations"] > 1 for run in first),
            ),
            claim(
                f"From the tenth update on, observations differ by at most {error:.2f} of their standard deviation, "
                f"and rewards by {apart:.1%} with the wrapper of Gymnasium 0.26.3.",
                error < 0.02 and apart < 0.01,
            ),
            claim(
                "Later versions of Gymnasium do not set the discounted return to 0 where an episode is truncated: on "
                f"Pendulum, whose episodes are all truncated, our rewards are then down to {lowest:.2f} times theirs.",
                lowest < 0.9,
            ),
        ),
        table(
            ["task", "update", "observations", "rewards: Gymnasium 0.26.3", "0.29 and later"],
            [
                [
                    run["env"].partition("/")[2],
                    str(run["update"]),
                    f"{run['observations']:.3f}",
                    f"{run['rewards of 0.26.3']:.3f}",
                    f"{run['rewards']:.3f}",
                ]
                for run in runs
            ],
        ),
    )
