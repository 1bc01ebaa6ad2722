"""How fast ringipc is, compared with others: `python -m benchmarks`. Each module answers one question."""
