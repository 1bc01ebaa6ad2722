"""How messages become bytes: arrays, records and pickled objects. Pure Python, below the extension module."""
