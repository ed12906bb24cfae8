"""A single environment of EnvPool that renders images."""

import pickle
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from rpo_jax.envs.suites.envpool import flatten, observation_sizes
from rpo_jax.errors import SimulatorError
from rpo_jax.visual import envpool_renderer


class Rendered:
    """A single EnvPool environment with the members of a Gymnasium environment that renders images.

    It lives in a process of its own, since EnvPool ends its process where there is no OpenGL.
    """

    def __init__(self, env_id: str):
        """Starts the process.

        Args:
            env_id: such as "HopperHop-v1".
        """
        self._env_id, self._sizes = env_id, observation_sizes(env_id)
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-P", envpool_renderer.__file__, env_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
        )

    def reset(self, *, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins the first episode of a seed; to be called once.

        Args:
            seed: the seed.

        Returns:
            The observation [O], and an empty dictionary.

        Raises:
            SimulatorError: if it cannot be rendered here.
        """
        self._send(seed)
        self.action_space = self._receive()
        return self._read()[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Does a step.

        Args:
            action: action within the bounds [A].

        Returns:
            Observation [O], reward, whether it terminated, whether it was truncated, and an empty dictionary.

        Raises:
            SimulatorError: if its process ended.
        """
        self._send(action)
        return *self._read(), {}

    def render(self) -> np.ndarray:
        """Returns an image of the present state [height, width, 3] uint8."""
        return self._image

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    def _read(self) -> tuple[np.ndarray, float, bool, bool]:
        obs, reward, terminated, truncated, images = self._receive()
        self._image = images[0]
        return flatten(obs, self._sizes)[0], float(reward[0]), bool(terminated[0]), bool(truncated[0])

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._why_it_ended() from None

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        try:
            return pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):  # it ended between two messages, or within one
            raise self._why_it_ended() from None

    def _why_it_ended(self) -> SimulatorError:
        self._process.communicate()
        self._complaints.seek(0)
        words = self._complaints.read().decode(errors="replace").strip() or "it does not say why"
        return SimulatorError(f"the renderer of {self._env_id} ended with {self._process.returncode}: {words}")
