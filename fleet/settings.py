"""What the runner's statements run under, whatever database or role set. It is said as each of our
transactions begins, for that one only: behind a pooler the session is somebody else's next."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from psycopg.pq import TransactionStatus

# As SQL has them: how values are written and read, how SQL is, which rows are seen (a read fails
# where policies would filter, and comes not back empty), what is said, how long it may take, that
# a killed runner's statement ends. Where data is stored and how it is found changes no result.
PINNED = {
    "datestyle": "iso, mdy", "intervalstyle": "postgres", "timezone": "'UTC'",
    "extra_float_digits": "1", "bytea_output": "hex", "array_nulls": "on",
    "quote_all_identifiers": "off", "search_path": "pg_catalog, pg_temp",
    "standard_conforming_strings": "on", "transform_null_equals": "off",
    "row_security": "off", "restrict_nonsystem_relation_kind": "''", "exit_on_error": "off",
    "client_min_messages": "notice", "lock_timeout": "0", "statement_timeout": "0",
    "transaction_timeout": "0", "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0", "client_connection_check_interval": "'1s'"}
ALWAYS = "^(idle_session|client_connection)"  # said for the session too: harm nobody after us
# A migration's file finds the settings that psql and yoyo would give it, and nothing that another
# file set. What stays ours changes no row: it says who is at work, and lets no file end half-way.
STAYS = "^(app[.]|client_|transaction_|statement_timeout|idle_|exit_|restrict_)"
AS_CONNECTED = f"""select set_config(name, reset_val, true) from pg_catalog.pg_settings
    where source = 'session' and name !~ '{STAYS}'"""  # noqa: S608


class Cursor(psycopg.Cursor):
    """Gives a statement that is in no transaction one of its own."""

    def execute(self, *statement: Any, **how: Any) -> Self:
        """As in psycopg."""
        if self.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            return super().execute(*statement, **how)
        with self.connection.transaction():
            return super().execute(*statement, **how)


class Connection(psycopg.Connection):
    """One whose transactions begin with `pins`; its cursor_factory may be made psycopg's again."""

    def settle(self) -> None:
        """Finds which pins this server and this run take; to be called before all else."""
        found = {name: (setting, source) for name, setting, source in self.execute(
            "select lower(name), setting, source from pg_catalog.pg_settings")}
        # what PGOPTIONS says of how long this run may take, or that it may not write, stands
        said = {name for name, (_, source) in found.items() if source == "client"
                and name.endswith(("_timeout", "_read_only"))}
        self.pins = {name: PINNED[name] for name in PINNED if name in found.keys() - said}
        try:
            pin(self, "set", ALWAYS)
        except psycopg.errors.InvalidParameterValue:  # Windows can't look after its client
            del self.pins["client_connection_check_interval"]
        self.isolation_level, self.deferrable = psycopg.IsolationLevel.READ_COMMITTED, False
        is_standby = "on" in found.get("in_hot_standby", ())
        if not is_standby and "default_transaction_read_only" not in said:
            self.read_only = False
        self.cursor_factory = Cursor

    @contextmanager
    def transaction(self, *name: str, **how: Any) -> Iterator[psycopg.Transaction]:
        """As in psycopg."""
        begins = self.pgconn.transaction_status == TransactionStatus.IDLE
        with super().transaction(*name, **how) as transaction:
            if begins:
                pin(self)
            yield transaction


def pin(conn: psycopg.Connection, scope: str = "set local", which: str = "") -> None:
    """Sets what is ours, in a scope; nothing on a connection without pins."""
    conn.execute("; ".join(f"{scope} {name} = {value}" for name, value
                           in getattr(conn, "pins", {}).items() if re.search(which, name)))


@contextmanager
def as_connected(conn: psycopg.Connection) -> Iterator[None]:
    """The block runs a migration's file, in a transaction; what comes after it is ours again."""
    conn.execute(AS_CONNECTED)
    yield
    pin(conn)
