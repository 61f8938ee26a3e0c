-- core.messages of a bare database as it was before the columns' rules became domains: a base that
-- doesn't get cheaper with us. A table's CHECK is parsed by every statement, a domain's once a
-- session; the default asks a regular expression.

create function core.pinned_bot_id()
returns bigint
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    return substring(current_user::text from '^bot_([1-9][0-9]{0,17})$')::bigint;
end
$func$;

create table core.pinned (
    bot_id           bigint       not null default core.pinned_bot_id(),
    conversation_id  bigint       not null,
    message_id       bigint       generated always as identity,
    sent_at          timestamptz  not null default now(),
    created_at       timestamptz  not null default now(),
    updated_at       timestamptz  not null default now(),
    source_file_id   bigint,
    direction        text         not null,
    body             text         not null,
    metadata         jsonb,

    constraint pinned_pk           primary key (bot_id, conversation_id, message_id),
    constraint pinned_sent_at_ck   check (
        sent_at >= timestamptz '1970-01-01 00:00:00+00'
        and sent_at < timestamptz '2100-01-01 00:00:00+00'),
    constraint pinned_direction_ck check (direction in ('in', 'out')),
    constraint pinned_metadata_ck  check (jsonb_typeof(metadata) = 'object')
) partition by hash (bot_id);

do $pinned$
begin
    for v_leaf in 0..9 loop
        execute format('create table core_partitions.pinned_p%s partition of core.pinned '
                       'for values with (modulus 10, remainder %s)', v_leaf, v_leaf);
    end loop;
end
$pinned$;

create index on core.pinned (bot_id, sent_at);

insert into core.pinned overriding system value
select bot_id, conversation_id, message_id, sent_at, created_at, updated_at, source_file_id,
       direction, body, metadata
from core.messages;
select setval(pg_get_serial_sequence('core.pinned', 'message_id'), max(message_id))
from core.messages;
grant select, insert, update on core.pinned to app_bot;
alter table core.messages rename to messages_now;
alter table core.pinned rename to messages;
