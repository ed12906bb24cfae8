"""SBX: Stable Baselines' PPO in JAX, on Gymnasium's environments."""

import gymnasium
from flax import linen
from sbx import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from worker import serve


def make(work):
    """One call trains seed after seed; all with one model, since every model compiles anew."""
    name = work["env"].partition("/")[2]
    envs = DummyVecEnv([lambda: gymnasium.make(name)] * work["num_envs"])
    round_steps = work["num_envs"] * work["num_steps"]
    model = PPO(
        "MlpPolicy",
        VecNormalize(envs, gamma=0.99),
        learning_rate=3e-4,
        n_steps=work["num_steps"],
        batch_size=round_steps // work["num_minibatches"],
        n_epochs=work["num_epochs"],
        policy_kwargs={"net_arch": [work["width"]] * 2, "activation_fn": linen.tanh},
        seed=0,
    )

    def train():
        for _ in range(work["seeds"]):
            model.learn(work["updates"] * round_steps, log_interval=None)
            assert model.num_timesteps == work["updates"] * round_steps

    return train


if __name__ == "__main__":
    serve(make, "sbx-rl", "gymnasium")
