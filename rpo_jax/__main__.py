"""`python -m rpo_jax`."""

import sys

from rpo_jax.cli import main

sys.exit(main())
