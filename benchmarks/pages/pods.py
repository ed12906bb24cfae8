"""What many devices would exchange, read from programs that were compiled without them."""

import math
from collections import Counter
from typing import Any

from pages.findings import claim
from pages.markdown import enumeration, in_mib, paragraph, section, table
from recording import Row
from works import GPU_WORKS

Exchange = dict[str, Any]
HEADER = ("work", "devices", "shared out", "in a minibatch", "besides, in a round", "memory of a device", "compiled in")


def render(runs: list[Row]) -> str:
    """The section."""
    return section(
        "What would many devices exchange?",
        paragraph(
            "Training is compiled for many devices that are not here, and their exchanges are counted in the program.",
            "Each device has the work of one, 4,096 environments: there are as many runs as devices, or one run has so",
            "many times the environments, of which each device has a share. The size of an exchange is that of the",
            "arrays that a device holds after it; all epochs are taken to run. Nothing is said of time. Memory and the",
            "time of compiling are as in the section before.",
            _of_runs([run for run in runs if run["layout"] == "runs"]),
            *_of_environments([run for run in runs if run["layout"] == "environments"]),
            _of_memory(runs),
        ),
        table(HEADER, map(_row, sorted(runs, key=_place))),
    )


def _of_runs(runs: list[Row]) -> str:
    nothing = not any(run["round"] or run["outside"] for run in runs)
    return claim("Devices that have runs of their own exchange nothing.", nothing)


def _of_environments(runs: list[Row]) -> list[str]:
    """Sentences on runs that devices share."""
    large, small = max(map(_share_of_batch, runs)), max(map(_small_bytes, runs))
    most = max(run["devices"] for run in runs)
    whole = max(_gathered(run)["bytes"] for run in runs if run["devices"] == most)
    return [
        claim(
            "Devices that share a run exchange one array in a minibatch, of its gradients and losses, which is as "
            "large for any number of them.",
            all([(e["kind"], len(e["arrays"])) for e in _in_minibatch(run)] == [("all-reduce", 1)] for run in runs)
            and _same_for_any_number(runs, lambda run: _moved(run, _in_minibatch(run))),
        ),
        claim(
            "Before its epochs each gathers the samples of all, because a minibatch has environments of any device: "
            f"{in_mib(large)} or less of each, and up to {in_mib(whole)} with {most} devices.",
            all((_gathered(run)["kind"], _gathered(run)["trips"]) == ("all-gather", []) for run in runs)
            and _same_for_any_number(runs, _share_of_batch),
        ),
        f"All else in a round, moments of observations, returns, advantages and metrics, is {_size(small)} or less.",
    ]


def _of_memory(runs: list[Row]) -> str:
    """What the gathered samples cost where devices are many."""
    most = max(run["devices"] for run in runs)
    shared, own = (
        [_memory(run) for run in runs if (run["devices"], run["layout"]) == (most, layout)]
        for layout in ("environments", "runs")
    )
    return claim(
        f"With {most} devices a shared run takes {in_mib(min(shared))} to {in_mib(max(shared))} of the memory of each, "
        f"and runs of their own at most {in_mib(max(own))}.",
        min(shared) > max(own),
    )


def _memory(run: Row) -> int:
    return sum(run["bytes"].values())


def _in_minibatch(run: Row) -> list[Exchange]:
    """In the loop over minibatches, which is in the one over epochs."""
    minibatches = GPU_WORKS[run["work"]].num_minibatches
    return [exchange for exchange in run["round"] if exchange["trips"][1:] == [minibatches]]


def _besides(run: Row) -> list[Exchange]:
    within = _in_minibatch(run)
    return [exchange for exchange in run["round"] if exchange not in within]


def _gathered(run: Row) -> Exchange:
    """The largest of those."""
    return max(_besides(run), key=lambda exchange: exchange["bytes"])


def _share_of_batch(run: Row) -> float:
    return _gathered(run)["bytes"] / run["devices"]


def _small_bytes(run: Row) -> int:
    return _moved(run, _besides(run)) - _gathered(run)["bytes"]


def times(run: Row, exchange: Exchange) -> int:
    """How often it is made in a round."""
    return math.prod(trips or GPU_WORKS[run["work"]].num_epochs for trips in exchange["trips"])


def _moved(run: Row, exchanges: list[Exchange]) -> int:
    """Bytes in a round."""
    return sum(times(run, exchange) * exchange["bytes"] for exchange in exchanges)


def _same_for_any_number(runs: list[Row], of: Any) -> bool:
    """Whether a number is the same for all devices of any kind that have a work."""
    return all(len({of(run) for run in runs if run["work"] == work}) == 1 for work in {run["work"] for run in runs})


def _place(run: Row) -> tuple[int, str, int, str]:
    """In the table: by work, kind of devices and their number."""
    return list(GPU_WORKS).index(run["work"]), run["pod"].partition(" ")[2], run["devices"], run["layout"]


def _row(run: Row) -> list[str]:
    within, besides = _in_minibatch(run), _besides(run)
    return [
        run["work"].removesuffix("-1-seeds"),
        run["pod"],
        run["layout"],
        _told(Counter(exchange["kind"] for exchange in within), sum(exchange["bytes"] for exchange in within)),
        _told(_counted(run, besides), _moved(run, besides)),
        in_mib(_memory(run)),
        f"{run['compile_cpu_seconds']:.0f} s",
    ]


def _counted(run: Row, exchanges: list[Exchange]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for exchange in exchanges:
        counts[exchange["kind"]] += times(run, exchange)
    return counts


def _told(counts: Counter[str], size: int) -> str:
    kinds = enumeration([f"{count} {kind}" for kind, count in sorted(counts.items())])
    return f"{kinds}: {_size(size)}" if counts else "nothing"


def _size(size: float) -> str:
    return in_mib(size) if size >= 2**20 else f"{size / 2**10:,.1f} KiB"
