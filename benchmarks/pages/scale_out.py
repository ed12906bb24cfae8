"""How speed grows with processes on this machine, and what that would be with many accelerators: a projection."""

from typing import NamedTuple

from pages import pods
from pages.findings import claim
from pages.markdown import paragraph, section, table
from recording import Row, records
from works import GPU_WORKS

WORDS = {
    "one": "one process",
    "apart": "two that know nothing of each other, a run each",
    "runs": "two in one job, a run each",
    "environments": "two in one job that share a run of twice the environments",
    "same batch": "two in one job that share the run of one process",
}
NEAR = 100.0  # so far a shared run may end from one that is not: about the deviation of single episodes


class Links(NamedTuple):
    """What devices exchange by.

    Attributes:
        bytes: in a second, in one direction, of each device.
        seconds: before the first byte.
    """

    bytes: float
    seconds: float


NVLINK = Links(450e9, 10e-6)  # of an H100, within a machine of eight
NETWORK = Links(50e9, 20e-6)  # 400 Gbit/s for each device, between machines
DEVICES = {8: NVLINK, 64: NETWORK, 1024: NETWORK}


def render(runs: list[Row]) -> str:
    """The section."""
    speeds = {(run["work"], run["layout"]): run["speed"] for run in runs if "speed" in run}
    works = dict.fromkeys(work for work, _ in speeds)
    rows = [
        [work, WORDS[layout], f"{speed:,.0f}", f"{speed / speeds[work, 'one']:.2f}", _efficiency(speeds, work, layout)]
        for work in works
        for layout, speed in ((layout, speeds[work, layout]) for layout in WORDS)
    ]
    projected = _projected_rows()
    return section(
        "How does speed grow with processes?",
        paragraph(
            "Each process has one core of this machine and one device, and exchanges by the loopback interface, which",
            "is slower than what connects accelerators. Two processes that know nothing of each other show what the",
            "cores cost each other; efficiency is the part of their speed that is kept. Medians of three measurements.",
            *_learning([run for run in runs if run["work"] == "learning"]),
        ),
        paragraph("**Which axis to grow?**", *_advice(speeds, list(works), projected)),
        table(["work", "processes", "steps/s", "times one process", "efficiency"], rows),
        *_projection(projected),
    )


def _efficiency(speeds: dict[tuple[str, str], float], work: str, layout: str) -> str:
    return "" if layout in ("one", "apart") else f"{speeds[work, layout] / speeds[work, 'apart']:.0%}"


def _advice(speeds: dict[tuple[str, str], float], works: list[str], projected: list[list[str]]) -> list[str]:
    kept, shared = (
        in_words([f"{_efficiency(speeds, work, layout)} on {work}" for work in works])
        for layout in ("runs", "environments")
    )
    far = [f"{row[-1]} of the speed on {row[1]} devices" for row in projected if row[0] == projected[0][0]]
    return [
        f"Seeds and settings first, as shards or in one job: with a run in each process the efficiency is {kept}.",
        f"Environments of one run only where a run must be larger than a device: there it is {shared}.",
        *(
            [f"By the projection below, {projected[0][0]} keeps {in_words(far)}, so stay within a machine."]
            if far
            else []
        ),
    ]


def in_words(words: list[str]) -> str:
    """Returns the words with commas, and `and` before the last."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _learning(runs: list[Row]) -> list[str]:
    found = {run["layout"]: run["return"] for run in runs}
    if len(found) < 2:
        return []
    return [
        claim(
            f"Pendulum by preset `fast`, one run of {runs[0]['steps']:,} steps, ends at {found['one']:.0f} in one "
            f"process and at {found['same batch']:.0f} shared by two.",
            abs(found["one"] - found["same batch"]) < NEAR,
        )
    ]


def _projected_rows() -> list[list[str]]:
    """What the exchanges that were counted would take beside the speed that was measured on one GPU."""
    measured = {run["work"]: run for run in records("throughput_gpu")}
    counted = [run for run in records("pods") if run["layout"] == "environments" and run["pod"] == "8 H100"]
    return [
        _projected(measured[run["work"]]["libraries"]["rpo_jax"]["steps_per_second"], run, count)
        for run in counted
        if run["work"] in measured
        for count in DEVICES
    ]


def _projection(rows: list[list[str]]) -> list[str]:
    if not rows:
        return []
    links = ", ".join(
        f"{count} devices by {link.bytes / 1e9:.0f} GB/s with {1e6 * link.seconds:.0f} microseconds"
        for count, link in DEVICES.items()
    )
    return [
        paragraph(
            "**A projection, not a measurement**, of a run that many GPUs share, each with 4,096 environments: the",
            "speed of one H200 as measured, and after each minibatch and round",
            "[what was counted](#what-would-many-devices-exchange), moved by ring algorithms over links that are",
            f"assumed: {links} before each exchange; nothing overlaps. Runs of their own would keep 100%.",
        ),
        table(["work", "devices", "a round computes", "a round exchanges", "speed kept"], rows),
    ]


def _projected(speed: float, run: Row, count: int) -> list[str]:
    work, link = GPU_WORKS[run["work"]], DEVICES[count]
    compute = work.num_envs * work.num_steps / speed
    own = [(exchange, pods.times(run, exchange)) for exchange in run["round"]]
    exchange = sum(times * (link.seconds + _ring(one, run["devices"], count) / link.bytes) for one, times in own)
    return [
        run["work"].removesuffix("-1-seeds"),
        f"{count:,}",
        f"{1e3 * compute:.2f} ms",
        f"{1e3 * exchange:.2f} ms",
        f"{compute / (compute + exchange):.0%}",
    ]


def _ring(exchange: pods.Exchange, compiled_for: int, count: int) -> float:
    """Bytes that each of `count` devices sends, of an exchange that was compiled for some."""
    if exchange["kind"] == "all-reduce":
        return 2 * (count - 1) / count * exchange["bytes"]
    return (count - 1) * exchange["bytes"] / compiled_for
