"""Robust Policy Optimization for continuous control, in JAX.

The public names are those of `__init__.pyi`; each is imported when first used, so that importing the package costs
nothing and starts nothing.
"""

import lazy_loader

__version__ = "0.2.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
