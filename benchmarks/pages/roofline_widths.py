"""Training against the limit of the machine, over widths of the networks."""

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pages.findings import claim
from pages.markdown import paragraph, picture, section, table
from recording import Row
from works import SHAPES, WIDTH_WORKS, WIDTHS

AIM = 0.8
LIMITS = {"limit": "products and stepping", "limit_of_networks": "products, activations, Adam and stepping"}


def render(runs: list[Row]) -> str:
    """The section."""
    shares = {name: [run["training"] / run[name] for run in runs] for name in LIMITS}
    reached = sum(share >= AIM for share in shares["limit_of_networks"])
    rows = [
        [shape, *(_cell(_of(runs, shape, width)) for width in WIDTHS)]
        for shape in SHAPES
        if any(_of(runs, shape, width) for width in WIDTHS)
    ]
    return section(
        "How near is training to the machine's limit, over widths of the networks?",
        paragraph(
            "Pendulum, two layers of each width, measured as above. The first number is the share of the limit that "
            "products and stepping set; the second, of the limit that activations (tanh) and Adam's steps set too. "
            "Limits are those of all cores, also where a run is so small that it takes one.",
            claim(
                f"Training reaches {min(shares['limit']):.0%} to {max(shares['limit']):.0%} of the first, and "
                f"{min(shares['limit_of_networks']):.0%} to {max(shares['limit_of_networks']):.0%} of the second. The "
                f"aim was {AIM:.0%}: {reached} of {len(runs)} works reach that of the second.",
                min(shares["limit"]) < min(shares["limit_of_networks"]),
            ),
        ),
        picture("shares of the limit", "roofline_widths"),
        table(["work", *(f"{width}-{width}" for width in WIDTHS)], rows),
    )


def _of(runs: list[Row], shape: str, width: int) -> Row | None:
    return next((run for run in runs if run["work"] == f"pendulum-{shape}-width-{width}"), None)


def _cell(run: Row | None) -> str:
    return f"{run['training'] / run['limit']:.0%}, {run['training'] / run['limit_of_networks']:.0%}" if run else ""


def draw(runs: list[Row]) -> Figure:
    """Shares of both limits over widths."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, of) in zip(figure.subplots(1, 2, sharey=True), LIMITS.items(), strict=True):
        for shape, marker in zip(SHAPES, "os^D", strict=True):
            points = [
                (WIDTH_WORKS[run["work"]].width, run["training"] / run[name]) for run in runs if shape in run["work"]
            ]
            axes.plot(*zip(*sorted(points), strict=True), marker=marker, label=shape.replace("-", " "))
        axes.axhline(AIM, color="k", linestyle=":")
        axes.set(title=f"training / {of}", xlabel="units of a layer", ylim=(0, 1.05))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small")
    return figure
