"""The host's loop trains as the pure sweep does, and an interrupt loses nothing."""

import signal
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import toys

from rpo_jax import fit, grid, seeds, sweep
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.execution.fit import Progress
from rpo_jax.execution.segments import Segments

SETTINGS = grid(rpo_alpha=[0.0, 0.3])
UPDATES = 7


def make_agent():
    return toys.tiny_agent(updates=UPDATES)


def test_segments_train_as_one_sweep_does() -> None:
    agent = make_agent()
    result = fit(agent, SETTINGS, seeds(0, 3))
    states, metrics = sweep(agent, SETTINGS, seeds(0, 3))
    assert set(result.metrics) == set(METRICS) == set(metrics)
    assert not result.interrupted
    for name, values in metrics.items():
        np.testing.assert_allclose(result.metrics[name], values, rtol=2e-4, atol=2e-5, err_msg=name)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5), result.state.policy, states.policy
    )
    np.testing.assert_array_equal(jax.random.key_data(result.state.key), jax.random.key_data(states.key))


def test_progress_tells_every_update_once() -> None:
    reports: list[Progress] = []
    result = fit(make_agent(), SETTINGS, seeds(0, 3), reports.append)
    assert reports[-1].updates == UPDATES
    assert [report.updates for report in reports] == np.cumsum(
        [r.metrics["entropy"].shape[-1] for r in reports]
    ).tolist()
    rows = np.concatenate([report.metrics["entropy"] for report in reports], axis=-1)
    np.testing.assert_array_equal(rows, result.metrics["entropy"])


@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupt_keeps_what_was_done(after: int) -> None:
    done = []

    def interrupt(progress: Progress) -> None:
        done.append(progress.updates)
        if len(done) == after:
            signal.raise_signal(signal.SIGINT)

    with toys.told("repeat the signal to stop immediately"):
        result = fit(make_agent(), SETTINGS, seeds(0, 3), interrupt)
    assert result.interrupted
    assert result.metrics["entropy"].shape == (2, 3, done[-1])
    assert done[-1] < UPDATES
    np.testing.assert_array_equal(result.state.update, done[-1])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("\x1b[2J" + 10**4 * "it does\nnot close ")])
def test_what_cannot_be_closed_is_told_in_one_line(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def fail(state: object) -> None:
        raise error

    segments: Any = Segments.__new__(Segments)
    segments._states = [SimpleNamespace(env_state=None)]
    segments._spread = SimpleNamespace(agent=SimpleNamespace(env=SimpleNamespace(close=fail, on_host=True, name="toy")))
    segments.close()
    (message,) = caplog.messages
    assert message.startswith(f"environments were not closed: {type(error).__name__}")
    assert message.isprintable()
    assert not message.endswith((" ", ":"))
    assert len(message) < 400
