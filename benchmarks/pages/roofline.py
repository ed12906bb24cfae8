"""Training against the limit of the machine."""

from pages.findings import claim
from pages.markdown import paragraph, section, table
from recording import Row

AIM = 0.7  # of the speed of stepping hopper alone
HEADER = (
    "work",
    "products, flop a step",
    "stepping alone, by `jax.vmap`: steps/s",
    "ours, in one block",
    "in blocks (how many)",
    "products alone: steps/s",
    "limit: steps/s",
    "training: steps/s",
    "of the limit",
    "of that with activations and Adam",
    "of stepping by `jax.vmap`",
    "of stepping, ours",
)


def render(runs: list[Row], where: str = "") -> str:
    """The section.

    Args:
        runs: the results.
        where: ends the title.
    """
    return section(
        f"How near is training to the machine's limit{where}?",
        paragraph(
            "Stepping the environments and the matrix products cannot be avoided. Each was measured alone on all "
            "devices; the limit is the speed if there were nothing else: `1 / (1 / stepping + 1 / products)`.",
            "Stepping is measured in two ways: `jax.vmap` of the suite's own step, and ours, which keeps the "
            "environments on the last axis; the limit takes the faster one.",
            "Products are those of a round of training at its own shapes, without activations, biases, loss or "
            "optimiser: forward passes, and in learning the gradients of weights and of layers' inputs, the "
            "observation excepted. The second limit adds the activations between them and Adam's steps.",
            "Medians of five measurements, which took turns with training.",
        ),
        paragraph(*(sentence for run in runs if run["work"] == "hopper" for sentence in _aim(run))),
        table(HEADER, map(_row, runs)),
        paragraph(
            "Rates of products, all devices together, in Gflop/s: those of a round, `[rows, width] x [width, width]` "
            "with the rows of a minibatch on a device and the width of the networks, and two square matrices of 2048.",
        ),
        table(["work", "rows", "of a round", "[rows, width] x [width, width]", "2048 x 2048"], map(_rates, runs)),
    )


def _stepping(run: Row) -> float:
    """The speed of our own stepping."""
    return max(run["stepping_in_one_block"], run["stepping_in_blocks"])


def _aim(run: Row) -> list[str]:
    """Whether hopper trains as fast as was aimed for."""
    by_vmap, ours, limit = (
        run["training"] / run["stepping_by_vmap"],
        run["training"] / _stepping(run),
        run["limit"] / _stepping(run),
    )
    return [
        f"The aim was that hopper trains at {AIM:.0%} of the speed of stepping alone.",
        claim(f"It trains at {by_vmap:.0%} of the speed of stepping by `jax.vmap`.", by_vmap >= AIM),
        claim(
            f"Of our own stepping, which is faster, it is {ours:.0%}: the products take so long that the limit itself "
            f"is {limit:.0%}.",
            ours < limit < AIM and by_vmap > ours,
        ),
    ]


def _row(run: Row) -> list[str]:
    return [
        run["work"],
        f"{run['flops_per_step']:,}",
        f"{run['stepping_by_vmap']:,}",
        f"{run['stepping_in_one_block']:,}",
        f"{run['stepping_in_blocks']:,} ({run['blocks']})" if run["blocks"] > 1 else "the same",
        f"{run['products']:,}",
        f"{run['limit']:,}",
        f"{run['training']:,}",
        f"{run['training'] / run['limit']:.0%}",
        f"{run['training'] / run['limit_of_networks']:.0%}" if "limit_of_networks" in run else "",
        f"{run['training'] / run['stepping_by_vmap']:.0%}",
        f"{run['training'] / _stepping(run):.0%}",
    ]


def _rates(run: Row) -> list[str]:
    flops = run["flops_per_second"]
    return [run["work"], f"{run['rows']:,}", *(f"{flops[name] / 1e9:,.1f}" for name in ("of_a_round", "own", "large"))]
