"""The standard library's own tests of multiprocessing, run over `ringipc.mp`.

`python -m stdlib_mp spawn` (in tests/) runs them for one start method; arguments after that select tests by a part of
their names. `over_mp.py` has the tests, with other imports; `cases.py` what is run of them; `left_out.py` what is not,
and why.
"""
