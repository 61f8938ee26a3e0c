-- What a message can be: text, photo, voice, …

create table core.message_kind (
    kind         varchar(32)  not null,
    description  text         not null,

    constraint message_kind_pk primary key (kind)
);

comment on table core.message_kind is
    'What a message can be; another row makes another kind known to core.record_message.';
comment on column core.message_kind.kind is
    'As in core.messages.kind, where a foreign key would cost every message 2 %.';
comment on column core.message_kind.description is 'In words.';

insert into core.message_kind (kind, description) values
    ('text',      'Words.'),
    ('photo',     'A picture, with or without words.'),
    ('video',     'A film, a round one or an animation, too.'),
    ('voice',     'A recorded voice.'),
    ('audio',     'Music or another sound.'),
    ('sticker',   'A sticker.'),
    ('document',  'A file of any other type.'),
    ('location',  'A place.'),
    ('contact',   'Somebody''s address.'),
    ('poll',      'A poll or a quiz.'),
    ('command',   'A command to the bot: /start.'),
    ('callback',  'A button of the bot''s that was pressed.'),
    ('service',   'What the messenger says itself: somebody joined, a title changed.'),
    ('other',     'Anything else; metadata.kind has the original word.');

create function core.kind_of(
    p_kind        text,
    p_metadata    jsonb,
    out kind      text,
    out metadata  jsonb
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    metadata := p_metadata;
    if exists (select from core.message_kind as k where k.kind = p_kind) then
        kind := nullif(p_kind, 'text');
    else
        kind := 'other';
        metadata := coalesce(p_metadata, '{}') || jsonb_build_object('kind', left(p_kind, 255));
    end if;
end
$func$;

comment on function core.kind_of(text, jsonb) is
    'What core.messages has for a word: kind, null for text; a word that is no row of
core.message_kind is other, and stands in metadata.kind.';
