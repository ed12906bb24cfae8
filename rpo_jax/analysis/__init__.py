"""Statistics and figures of results, for the command, the benchmarks and the notebooks alike."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
