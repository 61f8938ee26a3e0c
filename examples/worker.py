"""A worker's program: one login and one pool of connections for many bots, also through PgBouncer.

Reads lines "BOT_ID CHAT_ID TEXT" and keeps each as a message, some at a time. Connection by the
libpq environment, with a login that security.create_worker made:
PGUSER=pool PGPASSWORD=… python examples/worker.py < tasks
The pool is psycopg's (pip install "psycopg[binary,pool]"); without it, a small one of this file's.
"""

import queue
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

try:
    from psycopg_pool import ConnectionPool
except ImportError:
    ConnectionPool = None

SIZE = 3
# PgBouncer before 1.21 knows no prepared statements in transaction mode
OPTIONS = {"autocommit": True, "prepare_threshold": None}


class SmallPool:
    """Connections that threads take turns with; one that was lost is made anew."""

    def __init__(self, size: int) -> None:
        self.idle: queue.LifoQueue[psycopg.Connection | None] = queue.LifoQueue()
        for _ in range(size):
            self.idle.put(None)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """A connection for the block."""
        conn = self.idle.get()
        try:
            if conn is None or conn.closed:
                conn = psycopg.connect(**OPTIONS)
            yield conn
        finally:
            self.idle.put(conn)

    def close(self) -> None:
        """Ends all that are idle."""
        while not self.idle.empty():
            if conn := self.idle.get():
                conn.close()


def make_pool() -> "ConnectionPool | SmallPool":
    """psycopg's pool where it is installed."""
    if ConnectionPool is None:
        return SmallPool(SIZE)
    return ConnectionPool("", kwargs=OPTIONS, min_size=1, max_size=SIZE, open=True)


@contextmanager
def as_bot(pool: "ConnectionPool | SmallPool", bot_id: int) -> Iterator[psycopg.Connection]:
    """A connection that is the bot for one transaction: nobody gets it while it is, and the role
    ends with the transaction, committed or not. Never SET ROLE for a session behind a pooler."""
    with pool.connection() as conn, conn.transaction():
        conn.execute("select security.act_as(%s)", [bot_id])
        yield conn


def work(pool: "ConnectionPool | SmallPool", line: str) -> str:
    """Keeps one message; returns which bot has it, by what the database says."""
    bot_id, chat_id, text = line.rstrip("\n").split(" ", 2)
    with as_bot(pool, int(bot_id)) as conn:
        conn.execute("select core.record_message(%s, 'in', %s)", [int(chat_id), text])
        return conn.execute("select core.current_bot_id()").fetchone()[0]


def main() -> None:
    """Works off stdin; says what became of each line."""
    pool = make_pool()
    try:
        with ThreadPoolExecutor(2 * SIZE) as threads:
            for bot_id in threads.map(lambda line: work(pool, line), sys.stdin):
                print(f"kept for bot {bot_id}")
    finally:
        pool.close()


if __name__ == "__main__":
    main()
