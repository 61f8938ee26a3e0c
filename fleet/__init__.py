"""The runner's parts: each module has one job, and none holds a rule that SQL could hold."""

__version__ = "0.1.0"
