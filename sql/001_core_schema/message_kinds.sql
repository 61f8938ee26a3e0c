-- What a message can be: text, photo, voice, …

create table core.message_kind (
    kind         core.messages_kind  not null,
    description  text                not null,

    constraint message_kind_pk primary key (kind)
);

comment on table core.message_kind is
    'What a message can be; another row makes another kind known to core.record_message.';
comment on column core.message_kind.kind is 'As in core.messages.kind.';
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

create function core.known_kind(p_kind text)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    return case when p_kind = 'text' then null
                when exists (select from core.message_kind where kind = p_kind) then p_kind
                else 'other' end;
end
$func$;

comment on function core.known_kind(text) is
    'What core.messages.kind has for a word: null for text, other for a word that is no row of
core.message_kind.';
