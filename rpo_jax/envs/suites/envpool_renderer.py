"""A program that steps and renders one environment of EnvPool: its actions come by stdin, what it finds goes to stdout.

OpenGL has to be loaded before EnvPool is imported, and where there is none EnvPool ends the process.
"""

import contextlib
import ctypes
import os
import pickle
import sys

OPENGL = ("libEGL.so.1", "libGL.so.1")


def main(env_id: str, seed: str) -> None:
    """Sends the action space, and then observation, reward, terminated, truncated and image, each [1, ...].

    Args:
        env_id: name of the environment.
        seed: its seed.
    """
    for library in OPENGL:
        with contextlib.suppress(OSError):
            ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
    found = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for what EnvPool prints
    import envpool

    env = envpool.make_gymnasium(env_id, num_envs=1, seed=int(seed), render_mode="rgb_array")
    pickle.dump(env.action_space, found)
    outcome = env.reset()[0], [0.0], [False], [False]
    with contextlib.suppress(EOFError):
        while True:
            pickle.dump((*outcome, env.render()), found)
            found.flush()
            *outcome, _ = env.step(pickle.load(sys.stdin.buffer)[None])


if __name__ == "__main__":
    main(*sys.argv[1:])
