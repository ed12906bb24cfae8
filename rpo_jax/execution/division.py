"""Among how many cores of a CPU one run is divided: they wait for each other in every minibatch."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.networks import param_shapes
from rpo_jax.envs.protocol import Environment
from rpo_jax.keys import key_shape

# What a core has to compute between two exchanges, in operations at the rate of matrix products. Measured on two cores:
# with less, one of them alone trains faster.
ENOUGH = 5e6
ELEMENT = 2  # operations of a matrix product, in the time that a number takes in the step of a simulator; measured


def count_useful_cores(agent: Agent, most: int) -> int:
    """Counts the cores of a CPU that train a run faster than fewer of them.

    It traces a step of the environment if the networks alone do not keep all cores busy.

    Args:
        agent: from `make_agent`.
        most: number of cores that there are, at least 1.

    Returns:
        The number of cores, 1 to `most`.
    """
    if most == 1:
        return 1
    config, env = agent.config, agent.env
    rows = config.round_timesteps // config.num_minibatches
    params = jax.tree.leaves(param_shapes(agent.network, env.observation_size))
    weights = sum(math.prod(x.shape) for x in params if len(x.shape) > 1)
    operations = 6 * weights * rows  # forward, and back to weights and to inputs
    if operations < most * ENOUGH:
        operations += ELEMENT * _count_elements_of_step(env, config.num_envs) * rows / config.num_epochs
    return min(max(1, int(operations / ENOUGH)), most)


def _count_elements_of_step(env: Environment, num_envs: int) -> float:
    """The numbers that a step of one environment computes, loops included; 0 if it can be traced in training only."""
    keys = jax.eval_shape(lambda key: jax.random.split(key, num_envs), key_shape())
    episodes = jax.eval_shape(env.reset, keys)
    actions = jax.ShapeDtypeStruct((num_envs, env.action_size), jnp.float32)
    try:
        program = jax.make_jaxpr(env.step)(keys, episodes[0], actions, episodes)
    except Exception:  # whatever it is, training tells it
        return 0.0
    return count_elements(program.jaxpr) / num_envs


def count_elements(program: Jaxpr) -> int:
    """Counts the numbers that a program computes.

    Args:
        program: the program.

    Returns:
        The count, with all steps of a `scan`, and one of a `while` loop, whose number nobody knows.
    """
    count = 0
    for equation in program.eqns:
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        inner = times * sum(map(count_elements, _inner_programs(equation.params)))
        count += max(inner, sum(getattr(var.aval, "size", 0) for var in equation.outvars))
    return count


def _inner_programs(params: dict[str, Any]) -> list[Jaxpr]:
    leaves = jax.tree.leaves([*params.values()], is_leaf=lambda x: isinstance(x, (ClosedJaxpr, Jaxpr)))
    programs = [leaf.jaxpr if isinstance(leaf, ClosedJaxpr) else leaf for leaf in leaves]
    return [program for program in programs if isinstance(program, Jaxpr)]
