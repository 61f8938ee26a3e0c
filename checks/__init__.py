"""`make check`: what can be said of the repository without a database.

A check takes the root of a tree and yields `path:line: what to do`; if nothing, it holds."""
