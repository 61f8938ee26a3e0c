"""Messages for the bench of the audit: of so many words that a log compresses as it would."""
# ruff: noqa: S311 (people write Cyrillic; nothing here is a secret)

import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg

SMALL = (
    "и в не на я что ты с а как это у но мы всё он она так же от за меня тебя мне бы ещё уже если "
    "когда или да нет вот очень где 😊 сегодня завтра потом тоже только 😂 ❤️ привет хорошо спасибо "
    "может 👍🏽 ok")
NOUNS = (
    "кот дом лес сад стол мир год час мост парк поезд город вечер ветер берег остров билет фильм "
    "экран концерт вопрос ответ разговор совет секрет подарок завтрак рассвет маршрут рецепт ужин "
    "праздник характер талант возраст момент смысл выбор голос взгляд шаг звонок рисунок рассказ "
    "роман журнал словар календар корабл велосипед самолёт телефон будильник чемодан зонт свитер "
    "шарф ботинок торт пирог суп салат лимон апельсин виноград")
NOUN_ENDS = ",а,у,ом,е,ы,ов,ам,ами,ах,ик,ики,ный,ная,ное,ные"
VERBS = (
    "гуля дума чита игра слуша дела зна понима мечта обеда отдыха начина помога обеща узнава улыба "
    "встреча вспомина рассказыва спрашива покупа работа бега скуча засыпа просыпа опаздыва собира "
    "выбира открыва закрыва")
VERB_STARTS = ",по,про,при,от,вы,за"
VERB_ENDS = "ть,ю,ешь,ет,ем,ете,ют,л,ла,ли,й,йте,вший,вшая,ющий"
START = datetime(2024, 1, 1, tzinfo=UTC)


def words(rng: random.Random) -> list[str]:
    """Some thousands, the most frequent first."""
    nouns, noun_ends = NOUNS.split(), NOUN_ENDS.split(",")
    verb_starts, verbs, verb_ends = VERB_STARTS.split(","), VERBS.split(), VERB_ENDS.split(",")
    rare = ["".join(parts) for parts in (*itertools.product(nouns, noun_ends),
                                         *itertools.product(verb_starts, verbs, verb_ends))]
    rng.shuffle(rare)
    return [*SMALL.split(), *rare]


def messages(count: int, chats: int) -> Iterator[tuple]:
    """Rows of `incoming`, the same for the same arguments: 40 to 300 characters, a quarter with
    metadata; the nth of the words as often as the first divided by n."""
    rng = random.Random(1)
    known = words(rng)
    weights = list(itertools.accumulate(1 / place for place in range(1, len(known) + 1)))
    for number in range(count):
        size = rng.randint(40, 300)
        picked = rng.choices(known, cum_weights=weights, k=size // 3 + 5)
        metadata = json.dumps({"model": f"large-{number % 3}", "tokens": rng.randint(1, 900),
                               "reply_to": rng.randint(1, 100_000)})
        yield (number % chats, "in" if rng.random() < 0.5 else "out", " ".join(picked)[:size],
               START + timedelta(seconds=97 * number), metadata if number % 4 == 0 else None)


def fill(conn: psycopg.Connection, count: int, chats: int) -> None:
    """Gives each bot that is there as many conversations, and makes the table `incoming`: messages
    for them, conversation by conversation."""
    conn.execute("insert into core.girls_profiles (bot_id, telegram_id, chat_id, name)"
                 " select bot_id, 1000000 + i, 1000000 + i, 'Contact ' || i"
                 " from core.bots cross join generate_series(1, %s) as i", [chats])
    conn.execute("insert into core.conversations (bot_id, profile_id, chat_id, started_at)"
                 " select bot_id, profile_id, chat_id, %s from core.girls_profiles", [START])
    conn.execute("create temp table sent (place bigint, direction text, body text,"
                 " sent_at timestamptz, metadata jsonb)")
    total = conn.execute("select count(*) from core.conversations").fetchone()[0]
    with conn.cursor().copy("copy sent from stdin") as copy:
        for row in messages(count, total):
            copy.write_row(row)
    conn.execute("create table public.incoming as"
                 " select bot_id, conversation_id, direction, body, sent_at, metadata"
                 " from sent join (select bot_id, conversation_id, row_number()"
                 " over (order by conversation_id) - 1 as place from core.conversations) as c"
                 " using (place)"
                 " order by bot_id, conversation_id, sent_at")
    conn.execute("drop table sent")
