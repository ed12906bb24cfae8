"""Names that other libraries give to settings (CleanRL, Stable-Baselines3, Rejax, PureJaxRL, Brax)."""

ALIASES = {
    "lr": "learning_rate",
    "n_envs": "num_envs",
    "n_steps": "num_steps",
    "unroll_length": "num_steps",
    "total_steps": "total_timesteps",
    "num_timesteps": "total_timesteps",
    "timesteps": "total_timesteps",
    "n_epochs": "num_epochs",
    "update_epochs": "num_epochs",
    "num_updates_per_batch": "num_epochs",
    "batch_size": "num_minibatches",
    "minibatch_size": "num_minibatches",
    "n_minibatch": "num_minibatches",
    "ent_coef": "entropy_coefficient",
    "entropy_cost": "entropy_coefficient",
    "vf_coef": "value_coefficient",
    "clip_coef": "clip_epsilon",
    "clip_range": "clip_epsilon",
    "clip_eps": "clip_epsilon",
    "clip_vloss": "clip_value_loss",
    "discount": "gamma",
    "discounting": "gamma",
    "norm_adv": "normalize_advantages",
    "anneal_lr": "learning_rate_schedule",
    "alpha": "rpo_alpha",
    "seed": "first_seed",
    "seeds": "num_seeds",
    "algo": "variant",
    "track": "logger",
    "net_arch": "hidden_sizes",
}
# What a setting is, where the other name stands for another quantity.
_SAMPLES = "num_envs times num_steps, divided by the number of samples in a minibatch"
RELATIONS = {"batch_size": _SAMPLES, "minibatch_size": _SAMPLES}
