-- Counts and last times of the chats follow their messages, and no writer waits for another.

-- A trigger only appends what changed to core.uncounted. core_upkeep.fold_counts adds that to
-- core.conversation_totals, in one transaction at a time for each bot; core.chats shows both.

create function core_upkeep.begin_counting()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    -- one is there if an id is used again before the rest of its first chat was folded: it sums up
    insert into core.conversation_totals (bot_id, conversation_id)
    select bot_id, conversation_id from new_rows
    on conflict (bot_id, conversation_id) do nothing;
    return null;
end
$func$;

comment on function core_upkeep.begin_counting() is
    'Trigger on core.conversations: a new chat has no message yet.';

create function core_upkeep.end_counting()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    insert into core.uncounted (bot_id, conversation_id, change)
    select bot_id, conversation_id, 0 from old_rows;
    return null;
end
$func$;

comment on function core_upkeep.end_counting() is
    'Trigger on core.conversations: the next fold finds that a chat is gone.';

create function core_upkeep.count_new_messages()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set plan_cache_mode = force_generic_plan  -- or each message would cost planning
as $func$
declare
    v_bot_id         bigint;
    v_first_at       timestamptz;
    v_is_thousandth  boolean;
begin
    -- one message, by far the most frequent, has nothing to sum up
    insert into core.uncounted (bot_id, conversation_id, change, last_at)
    select bot_id, conversation_id, 1, sent_at
    from new_rows
    where not exists (select from new_rows offset 1)
    returning bot_id, last_at, note_id % 1000 = 0 into v_bot_id, v_first_at, v_is_thousandth;
    if not found then
        with noted as (
            insert into core.uncounted (bot_id, conversation_id, change, last_at)
            select bot_id, conversation_id, count(*), max(sent_at)
            from new_rows
            group by bot_id, conversation_id
            returning bot_id, note_id
        )
        select min(bot_id), (select min(sent_at) from new_rows),
               max(note_id) / 1000 * 1000 >= min(note_id)
        into v_bot_id, v_first_at, v_is_thousandth
        from noted;
    end if;

    if v_first_at < date_trunc('day', now(), 'UTC') then
        insert into core.stale_days (bot_id, days)
        select bot_id, core.days_of(array_agg(sent_at)) from new_rows group by bot_id;
    end if;
    if v_is_thousandth then
        perform core_upkeep.fold_if_many(v_bot_id);
    end if;
    return null;
end
$func$;

comment on function core_upkeep.count_new_messages() is
    'Trigger on core.messages: appends how many each chat got, and the latest one''s time; notes
days that are over. One note in a thousand makes its writer look whether too many lie unfolded.';

create function core_upkeep.count_deleted_messages()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    insert into core.uncounted (bot_id, conversation_id, change)
    select bot_id, conversation_id, -count(*) from old_rows group by bot_id, conversation_id;

    insert into core.stale_days (bot_id, days)
    select bot_id, core.days_of(array_agg(sent_at)) from old_rows group by bot_id;
    return null;
end
$func$;

comment on function core_upkeep.count_deleted_messages() is
    'Trigger on core.messages: appends how many each chat lost; their days are noted.';

create function core_upkeep.note_moving()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform set_config('core.moving', 'on', true);
    return null;
end
$func$;

comment on function core_upkeep.note_moving() is
    'Trigger on core.messages: an UPDATE names a column by which a message is counted. A trigger
that sees the rows can have no list of columns, so it is told by this one, in the setting
core.moving, until the transaction ends; whoever sets it makes it look in vain.';

create function core_upkeep.count_moved_messages()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    if current_setting('core.moving', true) is distinct from 'on' then
        return null;  -- another text, as a rule
    end if;
    -- what two versions of a message have in common cancels out
    with moved as (
        select bot_id, conversation_id, sent_at, sum(change) as change
        from (
            select *, -1 as change from old_rows
            union all
            select *, 1 from new_rows
        ) as r
        group by bot_id, conversation_id, message_id, sent_at, direction
        having sum(change) <> 0
    ), noted as (
        insert into core.uncounted (bot_id, conversation_id, change)
        select bot_id, conversation_id, sum(change) from moved group by bot_id, conversation_id
    )
    insert into core.stale_days (bot_id, days)
    select bot_id, core.days_of(array_agg(sent_at)) from moved group by bot_id;
    return null;
end
$func$;

comment on function core_upkeep.count_moved_messages() is
    'Trigger on core.messages: an UPDATE may move messages in time or to another conversation, or
turn their direction.';

create function core_upkeep.fold_counts(p_bot_id bigint, p_most integer default 10000)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set plan_cache_mode = force_generic_plan
as $func$
declare
    v_folded  bigint;
begin
    -- a row that nobody else writes is the turn: who doesn't get it leaves the work to who has it
    perform from core.bot_names where bot_id = p_bot_id for no key update skip locked;
    if not found then
        return 0::bigint;
    end if;
    -- one statement: what is folded, and the messages that are looked at, are of one moment
    with note as (
        delete from core.uncounted as u
        using (
            select conversation_id, note_id
            from core.uncounted
            where bot_id = p_bot_id
            order by conversation_id, note_id
            limit p_most
        ) as l
        where u.bot_id = p_bot_id and u.conversation_id = l.conversation_id
          and u.note_id = l.note_id
        returning u.conversation_id, u.change, u.last_at
    ), chat as (
        select n.conversation_id, sum(n.change)::bigint as change, max(n.last_at) as last_at,
               bool_or(n.last_at is null) as is_unsure, not exists (
                   select from core.conversations as k
                   where k.bot_id = p_bot_id and k.conversation_id = n.conversation_id) as is_gone
        from note as n
        group by n.conversation_id
    ), counted as (
        update core.conversation_totals as t
        set message_count   = t.message_count + c.change,
            last_message_at = case
                when c.is_unsure then (
                    select max(m.sent_at)
                    from core.messages as m
                    where m.bot_id = p_bot_id and m.conversation_id = c.conversation_id)
                else greatest(t.last_message_at, c.last_at) end
        from chat as c
        where t.bot_id = p_bot_id and t.conversation_id = c.conversation_id and not c.is_gone
    ), ended as (
        delete from core.conversation_totals as t
        using chat as c
        where t.bot_id = p_bot_id and t.conversation_id = c.conversation_id and c.is_gone
    )
    select count(*) into v_folded from note;
    return v_folded;
end
$func$;

comment on function core_upkeep.fold_counts(bigint, integer) is
    'Adds what was appended for a bot''s chats to their totals, at most p_most notes, and returns
how many they were: 0 also while somebody else does it. Waits for nobody, and no writer waits for
it.';

create function core_upkeep.recount(p_bot_id bigint)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_chats  bigint;
begin
    perform from core.bot_names where bot_id = p_bot_id for no key update;
    with note as (
        delete from core.uncounted where bot_id = p_bot_id
    ), ended as (
        delete from core.conversation_totals as t
        where t.bot_id = p_bot_id and not exists (
            select from core.conversations as c
            where c.bot_id = p_bot_id and c.conversation_id = t.conversation_id)
    ), counted as (
        insert into core.conversation_totals (
            bot_id, conversation_id, message_count, last_message_at)
        select p_bot_id, c.conversation_id, count(m.bot_id), max(m.sent_at)
        from core.conversations as c
        left join core.messages as m
            on m.bot_id = c.bot_id and m.conversation_id = c.conversation_id
        where c.bot_id = p_bot_id
        group by c.conversation_id
        on conflict (bot_id, conversation_id) do update
        set message_count = excluded.message_count, last_message_at = excluded.last_message_at
        returning 1
    )
    select count(*) into v_chats from counted;
    return v_chats;
end
$func$;

comment on function core_upkeep.recount(bigint) is
    'Counts a bot''s chats anew from their messages, and returns how many they are: where rows came
without triggers (logical replication, a restore of some tables). Waits for a fold of this bot; no
writer waits for it.';

create function core_upkeep.fold_if_many(p_bot_id bigint)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    -- with one snapshot for the whole transaction, what others folded since would be an error
    if current_setting('transaction_isolation') = 'read committed'
       and (select count(*) from (
                select from core.uncounted where bot_id = p_bot_id limit 20000) as u) = 20000 then
        perform core_upkeep.fold_counts(p_bot_id);
    end if;
end
$func$;

comment on function core_upkeep.fold_if_many(bigint) is
    'For a writer: folds a part of its bot''s notes where 20,000 lie unfolded, that is, where
maintenance does not keep up.';
