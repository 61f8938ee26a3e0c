#!/usr/bin/env python3
"""Writes legacy folders: `legacy` (all good), `broken` (one defect a file), `bulk` (for the bench).

The same arguments give the same bytes, everywhere: examples/legacy and examples/broken are the
output of the first two, and a test compares. Only the standard library is used.
"""
# ruff: noqa: S311 (people write Cyrillic; nothing here is a secret)

import argparse
import itertools
import json
import multiprocessing
import os
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

HELLO = (
    "Привет! Как прошёл день?", "Доброе утро ☀️", "Добрый вечер 🌙", "Hi there!", "Приветик 😊",
    "¡Hola! ¿Qué tal?", "Привіт, як справи?", "Hello again 👋", "Ну что, как ты?",
    "С возвращением! 🎉")
SMALL_TALK = (
    "Сегодня гуляла в парке, листья уже совсем жёлтые 🍂",
    "Пью чай с мятой и читаю книгу, которую ты посоветовал",
    "А у нас опять дождь, третий день подряд 🌧️",
    "Испекла шарлотку, вся кухня пахнет корицей 🥧",
    "Кот опять спит на клавиатуре 🐈‍⬛ печатать невозможно",
    "Посмотрел тот фильм, концовка неожиданная",
    "Какую музыку ты слушаешь, когда работаешь?",
    "Завтра рано вставать, но спать совсем не хочется",
    "Купила билеты на концерт, второй ряд! 🎶",
    "Учу испанский: hoy hace buen tiempo 😅",
    "Ёлку ещё не разобрали, стоит красивая 🎄",
    "Съел целую миску черешни 🍒🍒🍒",
    "Видела радугу, двойную 🌈",
    "Мы с сестрой собираем пазл на 1000 деталей",
    "Reading on the balcony, the tea is already cold",
    "The train is late again, so I have time to write 🚆",
    "I finally repaired the bicycle 🚲 it only took two weekends",
    "Café au lait et croissant, le petit déjeuner parfait 🥐",
    "Die Brücke bei Sonnenuntergang war wunderschön",
    "Сьогодні їздили на велосипедах уздовж річки",
    "Żółw jest powolny, ale zawsze dociera do celu 🐢",
    "Погода шепчет: −5 °C и солнце",
    "Выиграла в шахматы у соседа ♟️ впервые за год",
    "Ходили всей семьёй 👨‍👩‍👧‍👦 на каток ⛸️",
    "Спасибо 👍🏽 очень помогло",
    "Флаги 🇵🇱🇪🇸🇯🇵 угадай, куда мы едем летом",
    "У бабушки на даче созрели помидоры 🍅, привезу банку",
    "Сказала «до завтра» — и забыла телефон…",
    'Он ответил: "конечно, приходи" — и принёс торт',
    "Путь такой: C:\\Photos\\2023\\sea — там всё лето",
    "Рецепт:\n1. мука\n2. яйца\n3. терпение",
    "имя\tгород\tлюбимый чай",
    "½ стакана сахара, ¾ стакана молока, 180 °C",
    "𝓗𝓪𝓹𝓹𝔂 𝓫𝓲𝓻𝓽𝓱𝓭𝓪𝔂 🎂 и 𠮷野家",
    "Смеюсь уже минуту 😂😂😂",
    "ок", "да", "нет", "ага", "👍", "❤️", "Ну да)", "хм", "ok", "точно!", "Спокойной ночи 🌙")
CONNECTORS = ("А ещё: ", "Кстати, ", "Слушай, ", "By the way: ", "И да — ", "P. S. ")
NAMES = (
    "Алиса", "Дарья", "Катя", "Маша", "Олеся", "Юлия", "Соня", "Надя", "Зоя", "Лиза", "Ксюша 🌸",
    "Вероніка", "Оксана", "Соломія", "Anna", "Chloé", "Zoë", "Łucja", "Kate ✨", "Ira", "Inés",
    "Мария-Луиза", "Ёлка", "Настя 🐱", "Jürgen", "Bob", "Тимур", "Глеб")
CITIES = ("Киев", "Варшава", "Вильнюс", "Рига", "Kraków", "Málaga", "Тбилиси", "Одеса")
LIKES = ("чай", "книги", "лес", "велосипед", "кошки 🐈", "jazz", "шахматы", "море", "tortilla")
MOODS = ("Любит рассказывать о прогулках и книгах.", "Скоро отпуск, ждёт поездку к морю 🌊.",
         "Planning a trip to the mountains; asks about trains.", "Учит испанский, просит примеры.",
         "Говорили о погоде, чае и коте.", "Обсуждали рецепты: шарлотка, сырники.")
NOON = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


def pick(rng: random.Random, options):
    """One of the options; only random() is promised to be the same in every Python."""
    return options[int(rng.random() * len(options))]


def between(rng: random.Random, low: int, high: int) -> int:
    """An integer from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


def write(folder: Path, path: str, data: bytes | str) -> None:
    """Writes one file, and the folders above it."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data if isinstance(data, bytes) else data.encode())


# legacy -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Habit:
    """How one bot's program wrote its files."""

    name: str
    contacts: int
    first_chat: int
    single_file: str  # '', 'array' or 'object': where the profiles (of its older contacts) are
    older: int  # so many contacts are in the single file
    ascii_only: bool
    indent: int | None
    body_key: str
    stamps: tuple[str, ...]  # forms of timestamp, see stamp()


HABITS = (
    Habit("anna", 30, 411_020_117, "", 0, False, 1, "text",
          ("iso_z", "iso_z", "seconds", "decimal")),
    Habit("mila", 26, 5_206_411_093, "array", 11, False, None, "text",
          ("iso_z", "iso_offset", "milliseconds", "seconds")),
    Habit("vera_2019", 24, 187_300_551, "object", 24, True, None, "content",
          ("seconds", "iso_space", "iso_offset")),
)


@dataclass(frozen=True)
class Said:
    """One message of the story, before any file format."""

    at: datetime
    direction: str
    body: str
    more: dict


def stamp(at: datetime, form: str) -> str | int | float:
    """A moment as one of the programs would have written it."""
    match form:
        case "iso_z":
            return at.replace(tzinfo=None).isoformat() + "Z"
        case "iso_offset":
            return at.astimezone(timezone(timedelta(hours=3))).isoformat()
        case "iso_space":
            return at.replace(tzinfo=None).isoformat(" ") + "+00"
        case "iso_bare":
            return at.replace(tzinfo=None).isoformat()
        case "seconds":
            return int(at.timestamp())
        case "decimal":
            return round(at.timestamp(), 6)
        case "milliseconds":
            return int(at.timestamp()) * 1000 + at.microsecond // 1000
    raise ValueError(form)


# The smallest step, in microseconds, of the forms that can't write every microsecond.
STEPS = {"seconds": 1_000_000, "milliseconds": 1000}
# The backups were made by another script, so the same moment is written in another form.
BACKUP_STAMPS = {"iso_z": "iso_offset", "iso_offset": "iso_space", "iso_space": "iso_z",
                 "seconds": "iso_z", "milliseconds": "decimal", "decimal": "decimal",
                 "iso_bare": "iso_bare"}


def tell(rng: random.Random, count: int, step: int) -> list[Said]:
    """A conversation in order of time; `step` is the resolution of its timestamps."""
    story: list[Said] = []
    at = NOON - timedelta(seconds=between(rng, 20, 900) * 86_400 + between(rng, 0, 86_399))
    direction = "in"
    while len(story) < count:
        body = pick(rng, HELLO if not story or rng.random() < 0.05 else SMALL_TALK)
        if rng.random() < 0.3:
            body += " " + pick(rng, CONNECTORS) + pick(rng, SMALL_TALK)
        more: dict = {}
        if rng.random() < 0.02:
            more["media"] = {"type": pick(rng, ("photo", "voice")), "size": between(rng, 900, 9000)}
        if rng.random() < 0.015:
            more["edited"] = True
        micros = between(rng, 0, 999_999) // step * step
        story.append(Said(at.replace(microsecond=micros), direction, body, more))
        if rng.random() < 0.02:  # sent twice: the same words in the same moment
            story.append(story[-1])
        at += timedelta(seconds=between(rng, 4, 400) if rng.random() < 0.85
                        else between(rng, 3600, 260_000))
        direction = ("out" if direction == "in" else "in") if rng.random() < 0.8 else direction
    return story[:count]


def as_message(said: Said, body_key: str, form: str) -> dict:
    """A message as the bot's program spelled it."""
    made = {body_key: said.body, "direction": said.direction, "ts": stamp(said.at, form)}
    return made | said.more


def as_profile(rng: random.Random, chat_id: int, story: list[Said], form: str) -> dict:
    """A contact as the bot's program kept it."""
    last = stamp(story[-1].at, form) if story and rng.random() > 0.08 else None
    days = []
    for _ in range(between(rng, 0, 3)):
        day = NOON - timedelta(days=between(rng, 1, 700), seconds=between(rng, 0, 80_000))
        days.append(f"{day:%Y%m%d%H%M%S}")
    made = {
        "chat_id": chat_id,
        "name": None if rng.random() < 0.06 else pick(rng, NAMES),
        "last_activity": last,
        "message_count": len(story) + (between(rng, 1, 9) if rng.random() < 0.2 else 0),
        "summary": {day: pick(rng, MOODS) for day in days},
        "profile": {day: {"city": pick(rng, CITIES), "likes": [pick(rng, LIKES), pick(rng, LIKES)],
                          "tea_per_day": between(rng, 0, 5), "early_bird": rng.random() < 0.5}
                    for day in days[:2]},
        "previous_response_id": None,
    }
    if rng.random() < 0.7:
        made["previous_response_id"] = f"resp_{between(rng, 16**9, 16**10 - 1):016x}"
    if rng.random() < 0.1:
        made["telegram_id"] = abs(chat_id) + 7_000_000_000
    if rng.random() < 0.08:
        made["source"] = pick(rng, ("friend", "channel", "реклама"))
    if rng.random() < 0.05:
        made["timezone"] = "Europe/Warsaw"
    return made


def write_legacy(folder: Path, seed: int) -> None:
    """Three bots as their programs left them: every shape of every file, nothing broken."""
    for habit in HABITS:
        write_bot(folder / habit.name, habit, random.Random(f"{seed} {habit.name}"))


def write_bot(folder: Path, habit: Habit, rng: random.Random) -> None:
    """One bot's folder, in its program's habit."""
    single: list[dict] = []
    for number in range(habit.contacts):
        chat_id = habit.first_chat + number * 7919 + between(rng, 0, 7000)
        if number % 13 == 5:
            chat_id = -1_000_000_000_000 - chat_id  # a group
        # A few contacts are special: one program forgot the zone, one contact never wrote.
        form = "iso_bare" if number == 3 else pick(rng, habit.stamps)
        count = {4: 0, 15: 60}.get(number) or min(160, int(9 / (rng.random() + 0.03)))
        story = tell(rng, 0 if number == 4 else count, STEPS.get(form, 1))
        profile = as_profile(rng, chat_id, story, "iso_bare" if form == "iso_bare" else "iso_z")
        if number < habit.older:
            single.append(profile)
        elif (habit.name, number) != ("mila", 20):  # known by the conversation only
            bom = "\ufeff" if number == 9 else ""
            write(folder, f"girls_data/{chat_id}.json", bom + dump(habit, profile))
        days = backup_days(story) if number % 3 == 0 else []
        if number != 15:  # this conversation is gone, its backups are not
            write_conversation(folder, habit, rng, number, chat_id, story, form, bool(days))
        for day in days:
            seen = [said for said in story if said.at.date() < day][-60:]
            write(folder, f"backups/{chat_id}/{day}.json", dump(habit, {
                "date": f"{day}", "chat_id": chat_id, "name": profile["name"], "messages": [
                    as_message(said, habit.body_key, BACKUP_STAMPS[form]) for said in seen]}))
    if habit.single_file == "array":
        write(folder, "girls_data.json", dump(habit, single))
    elif habit.single_file == "object":
        entries = {str(entry["chat_id"]): entry for entry in single}
        write(folder, "girls_data.json", dump(habit, entries))


def dump(habit: Habit, value) -> str:
    return json.dumps(value, ensure_ascii=habit.ascii_only, indent=habit.indent) + "\n"


def backup_days(story: list[Said]) -> list[date]:
    """Up to three days of a conversation, spread over its length; never the first."""
    days = sorted({said.at.date() for said in story})
    return days[::max(1, len(days) // 3)][1:4]


def write_conversation(folder: Path, habit: Habit, rng: random.Random, number: int, chat_id: int,
                       story: list[Said], form: str, backed_up: bool) -> None:
    """The file as it is today: if there are backups, it has lost a few of its first messages."""
    lost = between(rng, 1, 4) if backed_up and len(story) > 8 else 0
    key = habit.body_key if rng.random() < 0.8 else "content"
    messages = [as_message(said, key, form) for said in story[lost:]]
    if number == 7 and messages:
        messages[0][key] = ""
    if number == 13 and messages:
        messages[-1][key] += " " + " ".join(SMALL_TALK) * 2
    wrapper: dict = {"chat_id": chat_id}
    if rng.random() < 0.3:
        wrapper["bot"] = habit.name
    write(folder, f"conversations/{chat_id}.json", dump(
        habit, wrapper | {"messages": messages} if rng.random() < 0.4 else messages))


# broken -------------------------------------------------------------------------------------------


def message(body: str, at: str = "2024-01-15T10:30:00Z", direction: str = "in") -> str:
    return json.dumps({"text": body, "direction": direction, "ts": at}, ensure_ascii=False)


def conversation(*items: str) -> str:
    return "[\n" + ",\n".join(items) + "\n]\n"


def profile(**keys) -> str:
    """A sound profile to break."""
    made = {"name": "Лена", "last_activity": "2024-01-15T10:30:00Z", "message_count": 3,
            "summary": {}, "profile": {}, "previous_response_id": None}
    return json.dumps(keys | made | keys, ensure_ascii=False, indent=1) + "\n"


@dataclass(frozen=True)
class Case:
    """One file of examples/broken; code '' means a good one."""

    path: str
    data: bytes | str
    code: str
    name: str
    what: str
    pointer: str = ""
    where: str = ""


def broken_cases() -> Iterator[Case]:
    """One case for each code that a small plain file can have."""
    good, later = message("Привет!"), message("Как дела?", "2024-01-15T10:31:00Z", "out")
    text = conversation(good, later, message("Всё хорошо 🙂", "2024-01-15T10:32:00Z"))
    data = text.encode()
    chat, person = "conversations/500{}.json".format, "girls_data/500{}.json".format

    yield Case(chat(401), b"", "MB401", "empty_file", "the file has no content")
    start, end = data.index("Как".encode()), data.index(b'?"')
    yield Case(chat(402), data[:start] + "Как дела".encode("cp1251") + data[end:],
               "MB402", "bad_encoding", "one message is in windows-1251, the rest in UTF-8",
               where=f"byte {start}")
    yield Case(chat(403), b"\xff\xfe" + text.encode("utf-16-le"),
               "MB403", "utf16", "saved as UTF-16 by an editor", where="byte 0")
    yield Case(chat(404), data[:-20] + bytes(20),
               "MB404", "nul_byte", "the tail was never written: zeros after a power cut",
               where=f"byte {len(data) - 20}")
    yield Case(chat(405), text.replace('"out", ', '"out" '),
               "MB405", "bad_syntax", "a comma is missing", where="line 3")
    yield Case(chat(406), text[:-30],
               "MB406", "truncated", "the program stopped in the middle of the last message")
    deep = "[" * 20_000 + "]" * 20_000
    yield Case(chat(407), text.replace('"ts"', f'"media": {deep}, "ts"', 1),
               "MB407", "too_deep", "20,000 arrays inside each other; 512 levels are the limit")
    yield Case(chat(409), text.replace("Как", "Как\\u0000"),
               "MB409", "nul_escape", "\\u0000 in a text", "/1/text")
    yield Case(chat(410), text.replace("🙂", "\\ud83d"),
               "MB410", "lone_surrogate", "half an emoji: a high surrogate alone", "/2/text")
    yield Case(chat(411), text.replace('"in"', '"in", "score": 1e400000', 1),
               "MB411", "number_range", "a number too large for the database", "/0/score")
    yield Case(chat(412), conversation(good, '"Как дела?"'),
               "MB412", "wrong_shape", "a message is a bare string", "/1")
    yield Case(person(413), profile(),
               "MB413", "chat_id_missing", "a profile without chat_id", "/chat_id")
    yield Case(person(414), profile(chat_id=500441),
               "MB414", "chat_id_mismatch", "chat_id is not the file's name", "/chat_id")
    yield Case(person(415), profile(chat_id=500415, message_count="17"),
               "MB415", "wrong_type", "a count in quotes", "/message_count")
    yield Case(chat(416), conversation(good, later.replace("ts", "time")),
               "MB416", "missing_key", "a message without ts", "/1/ts")
    yield Case(chat(417), text.replace('"out"', '"outgoing"'),
               "MB417", "bad_direction", "a direction other than in and out", "/1/direction")
    yield Case(chat(418), text.replace("2024-01-15T10:32:00Z", "15.01.2024 10:32"),
               "MB418", "timestamp_format", "a timestamp as people write it", "/2/ts")
    yield Case(chat(419), text.replace("2024-01-15T10:30", "2204-01-15T10:30"),
               "MB419", "timestamp_range", "a message from the year 2204", "/0/ts")
    yield Case(chat(420), text.replace('"out"', '"out", "te\\u0078t": "Нормально"'),
               "MB420", "duplicate_key", "text twice in a message, spelled differently", "/1/text")
    entries = [profile(chat_id=chat_id, name=name)
               for chat_id, name in ((500421, "Оля"), (500521, "Зоя"), (500421, "Оля 🌷"))]
    yield Case("girls_data.json", "[\n" + ",\n".join(entries) + "]\n",
               "MB421", "duplicate_contact", "the same contact twice in one file", "/2")
    yield Case(person(422), profile(chat_id=500422, telegram_id=70500422),
               "", "", "good; but the next file claims its telegram_id")
    yield Case(person(522), profile(chat_id=500522, telegram_id=70500422),
               "MB422", "refused_by_database", "a telegram_id that another contact has")
    yield Case("conversations/contacts.json", text,
               "MB423", "unknown_file", "the name is no chat id: whose messages are these?")


MANIFEST = """\
# What is wrong with these files

Made by `examples/generate.py broken`. One defect a file, except for the one marked as good. The
pointer (RFC 6901, in quotes) leads to the defect; `""` is the whole file.

Not here: MB408 (the size limit), MB424 and MB425 (defects only under `--strict`), and MB426 (links
and pipes, which git can't keep).

| file | code | name | pointer | where | what |
|---|---|---|---|---|---|
"""


def write_broken(folder: Path) -> None:
    """One bot's folder with one defect a file, and MANIFEST.md saying which."""
    rows = []
    for case in broken_cases():
        write(folder, f"lena/{case.path}", case.data)
        pointer = f"`{json.dumps(case.pointer)}`" if case.code else ""
        rows.append(f"| `lena/{case.path}` | {case.code or 'good'} | {case.name} | {pointer} "
                    f"| {case.where} | {case.what} |\n")
    write(folder, "MANIFEST.md", MANIFEST + "".join(rows))


# bulk ---------------------------------------------------------------------------------------------

POOL = 4096
FIRST_DAY = 17_897  # 2019-01-01, counted from 1970
DAYS = 2_200
BAD = ("truncated", "encoding", "direction", "syntax")


@dataclass(frozen=True)
class Chunk:
    """Work for one process: some contacts of one bot, each with its number of messages."""

    folder: Path
    bot: int
    contacts: tuple[tuple[int, int], ...]
    bad_percent: float


@dataclass
class Totals:
    """What was written: files, of them bad, messages, bytes."""
    files: int = 0
    bad: int = 0
    messages: int = 0
    octets: int = 0

    def add(self, other: "Totals") -> None:
        """Adds another's counts."""
        self.files += other.files
        self.bad += other.bad
        self.messages += other.messages
        self.octets += other.octets


class Stock:
    """What every process needs ready: escaped fragments of text, and the clock as strings."""

    def __init__(self, seed: int):
        rng = random.Random(f"{seed} stock")
        words = [word for line in SMALL_TALK[:14] for word in line.split()]
        words += ["tea", "сегодня", "завтра", "очень", "погода", "немного", "вечером", "🙂", "дома"]
        self.seed = seed
        self.openings = [self.phrase(rng, words, 2, 5) for _ in range(POOL)]
        self.endings = [self.phrase(rng, words, 3, 9) for _ in range(POOL)]
        self.days = [f"{datetime.fromtimestamp((FIRST_DAY + d) * 86_400, UTC):%Y-%m-%dT}"
                     for d in range(DAYS)]
        self.seconds = [f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(86_400)]
        self.gaps = [int(8 * 1.9 ** (rng.random() * 14)) for _ in range(POOL)]
        self.names = [json.dumps(name, ensure_ascii=False) for name in NAMES]
        self.moods = [json.dumps(mood, ensure_ascii=False) for mood in MOODS]

    @staticmethod
    def phrase(rng: random.Random, words: list[str], low: int, high: int) -> str:
        """A few words of small talk, escaped for JSON."""
        text = " ".join(pick(rng, words) for _ in range(between(rng, low, high)))
        return json.dumps(text, ensure_ascii=False)[1:-1]


stock: Stock


def prepare(seed: int) -> None:
    """Everything that a process needs, made once."""
    global stock
    stock = Stock(seed)


def split(total: int, weights: list[float]) -> list[int]:
    """Divides a total in proportion to the weights, exactly (largest remainders)."""
    whole = sum(weights)
    exact = [total * weight / whole for weight in weights]
    parts = [int(share) for share in exact]
    order = sorted(range(len(parts)), key=lambda i: parts[i] - exact[i])
    for i in order[:total - sum(parts)]:
        parts[i] += 1
    return parts


def conversation_text(rng: random.Random, chat_id: int, count: int) -> str:
    """One conversation file; its form is drawn once, as one program wrote the whole file."""
    form = rng.random()
    key = "content" if rng.random() < 0.15 else "text"
    times = list(itertools.accumulate(
        rng.choices(stock.gaps, k=count), initial=FIRST_DAY * 86_400 + between(rng, 0, 80_000_000)))
    latest = (FIRST_DAY + DAYS) * 86_400 - 1
    if times[-1] > latest:
        times = [min(at, latest) for at in times]
    if form < 0.65:
        zone = '+03:00"' if form < 0.1 else 'Z"'
        days, seconds, offset = stock.days, stock.seconds, FIRST_DAY
        stamps = [f'"{days[at // 86_400 - offset]}{seconds[at % 86_400]}{zone}' for at in times]
    elif form < 0.95:
        stamps = times
    else:
        stamps = [at * 1000 + 417 for at in times]
    rows = ", ".join([
        f'{{"{key}": "{opening} {ending}", "direction": "{direction}", "ts": {at}}}'
        for opening, ending, direction, at in zip(
            rng.choices(stock.openings, k=count), rng.choices(stock.endings, k=count),
            rng.choices(("in", "out"), k=count), stamps, strict=False)])
    if rng.random() < 0.2:
        return f'{{"chat_id": {chat_id}, "messages": [{rows}]}}\n'
    return f"[{rows}]\n"


def profile_text(rng: random.Random, chat_id: int, count: int) -> str:
    """The profile file of one contact, as JSON."""
    day = stock.days[between(rng, 0, DAYS - 1)]
    key = day[:-1].replace("-", "") + f"{between(rng, 100_000, 235_959)}"
    return (f'{{"chat_id": {chat_id}, "name": {pick(rng, stock.names)}, "last_activity": '
            f'"{day}{pick(rng, stock.seconds)}Z", "message_count": {count}, "summary": {{"{key}": '
            f'{pick(rng, stock.moods)}}}, "profile": {{"{key}": {{"tea_per_day": '
            f'{between(rng, 0, 6)}, "likes": ["{pick(rng, LIKES)}", "{pick(rng, LIKES)}"]}}}}, '
            f'"previous_response_id": "resp_{between(rng, 16**9, 16**10):016x}"}}\n')


def spoil(rng: random.Random, text: str) -> bytes:
    """A file that no importer may take: cut, in a wrong encoding, with a wrong value, no JSON."""
    kind = pick(rng, BAD)
    if kind == "direction" and '"direction": ' in text:
        return re.sub('"direction": "(in|out)"', '"direction": "up"', text, count=1).encode()
    if kind == "encoding":
        return text.encode().replace(b'": ', b'": \xff', 1) if '": ' in text else b"\xff"
    if kind == "syntax":
        return ("," + text).encode()
    return text.encode().rstrip()[:-1]


def write_chunk(chunk: Chunk) -> Totals:
    """Writes one process's share."""
    totals = Totals()
    for number, count in chunk.contacts:
        rng = random.Random(f"{stock.seed} {chunk.bot} {number}")
        chat_id = 100_000_000 + chunk.bot * 10_000_000 + number * 7
        for path, make in ((f"girls_data/{chat_id}.json", profile_text),
                           (f"conversations/{chat_id}.json", conversation_text)):
            text = make(rng, chat_id, count)
            bad = rng.random() * 100 < chunk.bad_percent
            data = spoil(rng, text) if bad else text.encode()
            with open(chunk.folder / path, "wb") as file:  # noqa: PTH123 (a third faster)
                file.write(data)
            totals.files += 1
            totals.bad += bad
            totals.octets += len(data)
        totals.messages += count
    return totals


def write_bulk(folder: Path, seed: int, bots: int, messages: int, contacts: int,
               bad_percent: float, jobs: int) -> Totals:
    """Bots and contacts of very unequal size: the n-th bot has about 1/n of the first one's."""
    rng = random.Random(f"{seed} sizes")
    weights = [1 / (bot + 1) for bot in range(bots)]
    chunks = []
    for bot, (people, total) in enumerate(zip(split(contacts, weights), split(messages, weights),
                                              strict=True)):
        home = folder / f"bot_{bot + 1:03d}"
        (home / "girls_data").mkdir(parents=True)
        (home / "conversations").mkdir()
        people = max(people, 1)
        sizes = split(total, [1 / (rng.random() + 0.03) for _ in range(people)])
        chunks += [Chunk(home, bot, tuple(enumerate(sizes))[at:at + 100], bad_percent)
                   for at in range(0, people, 100)]
    totals = Totals()
    if jobs == 1:
        prepare(seed)
        for chunk in chunks:
            totals.add(write_chunk(chunk))
        return totals
    with multiprocessing.Pool(jobs, prepare, (seed,)) as pool:
        for part in pool.imap_unordered(write_chunk, chunks):
            totals.add(part)
    return totals


# command line -------------------------------------------------------------------------------------


def read_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in (("legacy", "three bots, every shape of every file, nothing broken"),
                        ("broken", "one bot, one defect a file, and a MANIFEST.md"),
                        ("bulk", "any number of bots and messages")):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("folder", metavar="DIR", type=Path, help="must be empty or not exist")
        if name != "broken":
            command.add_argument("--seed", type=int, default=1)
        if name == "bulk":
            command.add_argument("--bots", type=int, required=True)
            command.add_argument("--messages", type=int, required=True, help="of all bots together")
            command.add_argument("--contacts", type=int, help="of all bots (messages / 100)")
            command.add_argument("--bad-percent", type=float, default=0, help="of the files")
            command.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args(argv)
    folder = arguments.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        parser.error(f"{folder} is not an empty folder")
    if arguments.command == "bulk" and (arguments.bots < 1 or arguments.messages < 0
                                        or arguments.jobs < 1):
        parser.error("--bots and --jobs must be at least 1, --messages at least 0")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand."""
    arguments = read_arguments(argv)
    if arguments.command == "legacy":
        write_legacy(arguments.folder, arguments.seed)
    elif arguments.command == "broken":
        write_broken(arguments.folder)
    else:
        totals = write_bulk(
            arguments.folder, arguments.seed, arguments.bots, arguments.messages,
            arguments.contacts or max(arguments.bots, arguments.messages // 100),
            arguments.bad_percent, arguments.jobs)
        print(f"{totals.files:,} files ({totals.bad:,} bad), {totals.messages:,} messages, "
              f"{totals.octets / 1e6:,.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
