"""As `multiprocessing.pool`."""

from ._standard import fall_back

__getattr__ = fall_back(__name__)
