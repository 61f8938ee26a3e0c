"""Benchmarks: `python -m bench.import_bench`. Each brings its own server and removes it."""
