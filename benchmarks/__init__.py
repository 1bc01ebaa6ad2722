"""How fast ringipc is, and against what: `python -m benchmarks`, one module a question."""
