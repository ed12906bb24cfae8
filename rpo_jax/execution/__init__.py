"""Running many training runs: on devices, within memory, with evaluations and checkpoints."""
