"""The same worker by asyncpg, which it needs: pip install asyncpg. See worker.py.

PGUSER=pool PGPASSWORD=… python examples/worker_asyncpg.py < tasks
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

SIZE = 3


@asynccontextmanager
async def as_bot(pool: asyncpg.Pool, bot_id: int) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is the bot for one transaction."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("select security.act_as($1)", bot_id)
        yield conn


async def work(pool: asyncpg.Pool, line: str) -> int:
    """Keeps one message; returns which bot has it, by what the database says."""
    bot_id, chat_id, text = line.rstrip("\n").split(" ", 2)
    async with as_bot(pool, int(bot_id)) as conn:
        await conn.execute("select core.record_message($1, 'in', $2)", int(chat_id), text)
        return await conn.fetchval("select core.current_bot_id()")


async def main() -> None:
    """Works off stdin; says what became of each line."""
    # PgBouncer before 1.21 knows no prepared statements in transaction mode: hence no cache
    async with asyncpg.create_pool(min_size=1, max_size=SIZE, statement_cache_size=0) as pool:
        for bot_id in await asyncio.gather(*(work(pool, line) for line in sys.stdin)):
            print(f"kept for bot {bot_id}")


if __name__ == "__main__":
    asyncio.run(main())
