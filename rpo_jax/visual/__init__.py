"""Movies and pages that show an episode of a trained policy."""
