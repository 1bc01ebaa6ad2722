"""`ringipc.mp` has what `multiprocessing` has, and shares its start method and processes."""

import importlib
import multiprocessing
import pickle
import subprocess
import sys

import pytest

from ringipc import mp


def test_every_name_of_multiprocessing_is_there() -> None:
    assert sorted(mp.__all__) == sorted(multiprocessing.__all__)
    for name in mp.__all__:
        assert getattr(mp, name) is not None


@pytest.mark.parametrize("name", ["queues", "connection", "synchronize", "sharedctypes", "managers", "pool", "heap"])
def test_a_submodule_has_the_names_of_the_one_in_the_standard_library(name: str) -> None:
    ours = importlib.import_module(f"ringipc.mp.{name}")
    for public in importlib.import_module(f"multiprocessing.{name}").__all__:
        assert hasattr(ours, public)
    assert getattr(mp, name) is ours


def test_what_is_not_defined_is_the_standard_librarys() -> None:
    assert mp.shared_memory is importlib.import_module("multiprocessing.shared_memory")
    assert mp.SUBDEBUG == multiprocessing.SUBDEBUG  # type: ignore[attr-defined]
    assert mp.Process is multiprocessing.Process
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mp.nothing
    with pytest.raises(AttributeError, match=r"ringipc.mp.queues' has no attribute 'nothing'"):
        _ = mp.queues.nothing


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_context_of_a_start_method_makes_our_objects(method: str) -> None:
    context = mp.get_context(method)
    assert context.get_context() is context
    assert context.get_context("spawn") is mp.get_context("spawn")
    assert context.Process is multiprocessing.get_context(method).Process  # type: ignore[attr-defined]
    assert isinstance(context, type(multiprocessing.get_context(method)))
    assert type(pickle.loads(pickle.dumps(context))) is type(context)
    with pytest.raises(ValueError, match="concrete context"):
        context.set_start_method("fork")


def test_both_modules_have_one_start_method() -> None:
    before = multiprocessing.get_start_method(allow_none=True)
    try:
        for method in mp.get_all_start_methods():
            mp.set_start_method(method, force=True)
            assert multiprocessing.get_start_method() == method == mp.get_start_method()
            assert mp.get_context() is mp.get_context(method)
        multiprocessing.set_start_method("spawn", force=True)
        assert mp.get_start_method() == "spawn"
        with pytest.raises(ValueError, match="cannot find context"):
            mp.get_context("teleport")
    finally:
        mp.set_start_method(before, force=True)


def test_importing_the_package_does_not_import_what_is_not_used_yet() -> None:
    script = "import sys; from ringipc import mp; print(sorted(m for m in sys.modules if m.startswith('ringipc.mp')))"
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "['ringipc.mp', 'ringipc.mp._standard', 'ringipc.mp.context']"
