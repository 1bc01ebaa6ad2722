"""The programs of docs/recipes.md. `python tests/recipes.py FOLDER` writes them to files, for linters."""

import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
PROGRAMS: dict[str, str] = dict(
    re.findall(r"^`(\w+\.py)`[^\n]*:\n\n```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in PROGRAMS.items():
        (folder / name).write_text(program)
