"""`rpo-jax check`: does this machine compute right?"""
