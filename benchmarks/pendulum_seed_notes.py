"""The seed notes' experiment over seeds: one run of each showed no difference between PPO and RPO. Is there one?

Preset `seed-notes`, 10 seeds, alpha 0 (PPO) and 0.3 (RPO, perturbed in rollout and update), in one call. The notes
initialise their networks as PyTorch does; a second study asks whether orthogonal initialisation changes the answer.
"""

from rpo_jax.runs.spec import make_spec
from study import run_study

SPECS = {
    f"{weight_init} initialisation": make_spec(
        "gymnax/Pendulum-v1", "rpo", "seed-notes", num_seeds=10, rpo_alpha=[0.0, 0.3], weight_init=weight_init
    )
    for weight_init in ("uniform", "orthogonal")
}

if __name__ == "__main__":
    run_study("pendulum_seed_notes", SPECS)
