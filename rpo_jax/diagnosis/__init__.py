"""`rpo-jax check`: tests whether this machine computes right results."""
