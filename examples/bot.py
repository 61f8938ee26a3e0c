"""A bot's program: logs in as its bot, keeps a message, reads the chat. No bot_id anywhere.

Connection by the libpq environment, with the login and password that `runner.py bot add` printed:
PGUSER=bot_1 PGPASSWORD=… python examples/bot.py CHAT_ID TEXT
(asyncpg: `await asyncpg.connect(user="bot_1", password=…)`, and $1, $2 instead of %s.)
"""

import sys

import psycopg

RECORD = "select core.record_message(%s, %s, %s)"  # finds or makes the contact and the chat
LATEST = """
    select m.sent_at, m.direction, m.body
    from core.messages as m
    join core.conversations as c using (bot_id, conversation_id)
    where c.chat_id = %s
    order by m.message_id desc
    limit 10"""


def answer(conn: psycopg.Connection, chat_id: int, text: str) -> str:
    """Keeps what was said and what is answered, both or neither; returns the answer."""
    reply = f"You said: {text}"
    with conn.transaction():
        conn.execute(RECORD, [chat_id, "in", text])
        conn.execute(RECORD, [chat_id, "out", reply])
    return reply


def main() -> None:
    """Answers one message and prints the chat, latest first."""
    chat_id, text = int(sys.argv[1]), sys.argv[2]
    with psycopg.connect(autocommit=True) as conn:
        answer(conn, chat_id, text)
        for sent_at, direction, body in conn.execute(LATEST, [chat_id]):
            print(f"{sent_at:%Y-%m-%d %H:%M} {direction:>3}  {body}")


if __name__ == "__main__":
    main()
