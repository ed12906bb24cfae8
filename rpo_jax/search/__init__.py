"""Search of hyperparameters: many settings in one call, the worse half dropped at fixed points, then fresh seeds."""
