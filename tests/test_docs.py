"""The documentation is true: its sessions (>>>) print what it shows, its programs run, its links and names exist."""

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from recipes import PROGRAMS as RECIPES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = {  # the programs of examples/, and a line that each must print
    "hello.py": "b'hello'",
    "nameless.py": "[2. 2.]]",
    "broadcast.py": "slow: be",
    "frames.py": "frame 600: mean 87",
    "counter.py": "4000 [0, -1, -2, -3, -4]",
    "manager.py": "{'one': 1, 'two': 2} [4, 3, 2, 1, 0]",
    "service.py": "{'mean': 7.0, 'max': 7.0}",
}


def python_blocks(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the Python examples of a page, each with the number of its first line."""
    text = page.read_text()
    for block in BLOCK.finditer(text):
        yield text.count("\n", 0, block.start(1)), block[1]


SESSIONS = [page for page in PAGES if any(">>>" in code for _, code in python_blocks(page))]


@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: page.name)
def test_the_sessions_of_a_page_print_what_the_page_shows(page: Path) -> None:
    examples = []
    for line, code in python_blocks(page):
        for example in doctest.DocTestParser().get_examples(code):
            example.lineno += line
            examples.append(example)
    session = doctest.DocTest(examples, {"__name__": "__main__"}, page.name, str(page), 0, page.read_text())
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(session, out=report.append)
    assert not report, "".join(report)


def test_every_page_with_a_python_example_has_a_session_or_is_a_program() -> None:
    programs = {(ROOT / "examples" / name).read_text() for name in PROGRAMS} | set(RECIPES.values())
    for page in PAGES:
        for line, code in python_blocks(page):
            assert ">>>" in code or code in programs, f"{page.name}:{line}: no test runs this example"


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert PROGRAMS[name] in done.stdout


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            found = page.parent / path if path else page
            assert found.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
                anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
                assert anchor in anchors, f"{page.name}: {target}"


def test_the_tests_that_reliability_names_exist() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    sentences = "\n".join(path.read_text() for path in (ROOT / "tests" / "c").glob("*.c"))
    sentences = re.sub(r'"\s*\n\s*"', "", sentences)  # a name that is written over two lines
    rows = "\n".join(re.findall(r"^\|.*\| (.*) \|$", page, re.MULTILINE))
    for name in re.findall(r'"([^"]+)"', rows):
        assert name.removeprefix("... ") in sentences, f"no C test has the name {name!r}"
    files = list((ROOT / "tests").rglob("test_*.py"))
    functions = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text())}
    for name in re.findall(r"\btest_\w+(?:\.py)?", page):
        assert name in functions or name in {file.name for file in files}, f"no Python test has the name {name!r}"


RETIRED = re.compile(  # words that the glossary has replaced, and that have no other use here
    r"\brip_(?:place|look|pump|ring_)\w*|\bpumps?\b|\bbells?\b|\bhow-manieth\b|\bseats?\b|\bNotAdmitted\b"
    r"|\blet(?:s|ting)? go\b|\btold\b|\bbegun\b|\blooked at\b|\bwho comes\b|(?<!there )\bis none\b"
)
TEXTS = (".c", ".h", ".md", ".pml", ".pxi", ".py", ".pyi", ".pyx")


def test_retired_words_stay_retired() -> None:
    folders = ["benchmarks", "csrc", "docs", "examples", "src", "tests"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in TEXTS]
    files = [path for path in [ROOT / "Makefile", *ROOT.glob("*.md"), *sorted(files)] if path != Path(__file__)]
    hits = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if RETIRED.search(line)
    ]
    assert not hits, "these words are retired, see the glossary in docs/architecture.md:\n" + "\n".join(hits)
