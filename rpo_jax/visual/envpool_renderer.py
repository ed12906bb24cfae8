"""A program that steps and renders one environment of EnvPool: its actions come by stdin, what it finds goes to stdout.

OpenGL has to be loaded before EnvPool is imported, and where there is none EnvPool ends the process. Whatever prevents
pictures is written to stderr.
"""

import contextlib
import ctypes
import os
import pickle
import sys

OPENGL = ("libEGL.so.1", "libGL.so.1")


def main(env_id: str) -> None:
    """Receives a seed; sends the action space, then observation, reward, terminated, truncated, image, each [1, ...].

    Args:
        env_id: name of the environment.
    """
    for library in OPENGL:
        try:
            ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
        except OSError as error:
            print(error, file=sys.stderr)
    found = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for what EnvPool prints
    import envpool

    env = envpool.make_gymnasium(env_id, num_envs=1, seed=pickle.load(sys.stdin.buffer), render_mode="rgb_array")
    pickle.dump(env.action_space, found)
    outcome = env.reset()[0], [0.0], [False], [False]
    with contextlib.suppress(EOFError):
        while True:
            pickle.dump((*outcome, env.render()), found)
            found.flush()
            *outcome, _ = env.step(pickle.load(sys.stdin.buffer)[None])


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # EnvPool raises all kinds of errors
        sys.exit(f"{type(error).__name__}: {error}")
