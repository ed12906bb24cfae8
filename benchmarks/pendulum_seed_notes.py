"""The seed notes' experiment over seeds: one run of each showed no difference between PPO and RPO. Is there one?

Preset `seed-notes`, 10 seeds, alpha 0 (PPO) and 0.3 (RPO, perturbed in rollout and update), in one call. The notes
divide the observations of the policy network by constants, but not those of the value network; a second study divides
both.
"""

from rpo_jax.settings.spec import make_spec
from study import run_study

SPECS = {
    label: make_spec(
        "gymnax/Pendulum-v1", "rpo", "seed-notes", num_seeds=10, rpo_alpha=[0.0, 0.3], value_observation_scale=scale
    )
    for label, scale in {"undivided, as in the notes": (), "divided too": (1.0, 1.0, 8.0)}.items()
}

if __name__ == "__main__":
    run_study("pendulum_seed_notes", SPECS)
