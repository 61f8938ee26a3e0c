-- Counts and times of a conversation follow its messages.

create function core_upkeep.count_new_messages()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set plan_cache_mode = force_generic_plan  -- or each message would cost planning
as $func$
declare
    v_new  record;
begin
    select min(bot_id) as bot_id, min(conversation_id) as conversation_id,
           (min(bot_id), min(conversation_id)) = (max(bot_id), max(conversation_id)) as is_one,
           count(*)::integer as messages, min(sent_at) as first_at, max(sent_at) as last_at
    into v_new
    from new_rows;

    if v_new.is_one then  -- what a bot does; the general form makes its insert half as dear again
        update core.conversations as c
        set message_count   = c.message_count + v_new.messages,
            started_at      = least(c.started_at, v_new.first_at),
            last_message_at = greatest(c.last_message_at, v_new.last_at)
        where c.bot_id = v_new.bot_id and c.conversation_id = v_new.conversation_id;
    elsif v_new.messages > 0 then
        with added as (
            select bot_id, conversation_id,
                   count(*)::integer as messages, min(sent_at) as first_at, max(sent_at) as last_at
            from new_rows
            group by bot_id, conversation_id
        ), locked as (
            -- always in key order: two bulk statements can't wait for each other
            select c.bot_id, c.conversation_id, a.messages, a.first_at, a.last_at
            from core.conversations as c
            join added as a using (bot_id, conversation_id)
            order by c.bot_id, c.conversation_id
            for no key update of c
        )
        update core.conversations as c
        set message_count   = c.message_count + l.messages,
            started_at      = least(c.started_at, l.first_at),
            last_message_at = greatest(c.last_message_at, l.last_at)
        from locked as l
        where c.bot_id = l.bot_id and c.conversation_id = l.conversation_id;
    end if;

    if v_new.first_at < date_trunc('day', now(), 'UTC') then
        insert into core.stale_days (bot_id, days)
        select bot_id, core.days_of(array_agg(sent_at)) from new_rows group by bot_id;
    end if;
    return null;
end
$func$;

comment on function core_upkeep.count_new_messages() is
    'Trigger on core.messages: one update per conversation and statement, not one per message; notes
days that are over.';

create function core_upkeep.recount(
    p_bots           bigint[],
    p_conversations  bigint[],
    p_changes        bigint[]
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    -- Two statements: the second one's snapshot is younger than the locks, so it sees the messages
    -- of whoever was waited for.
    perform
    from core.conversations as c
    join unnest(p_bots, p_conversations) as t (bot_id, conversation_id)
        using (bot_id, conversation_id)
    order by c.bot_id, c.conversation_id
    for no key update of c;

    update core.conversations as c
    set message_count   = c.message_count + t.change,
        started_at      = least(c.started_at, m.first_at),
        last_message_at = m.last_at
    from unnest(p_bots, p_conversations, p_changes) as t (bot_id, conversation_id, change)
    cross join lateral (
        select min(l.sent_at) as first_at, max(l.sent_at) as last_at
        from core.messages as l
        where l.bot_id = t.bot_id and l.conversation_id = t.conversation_id
    ) as m
    where c.bot_id = t.bot_id and c.conversation_id = t.conversation_id;
end
$func$;

comment on function core_upkeep.recount(bigint[], bigint[], bigint[]) is
    'Adds p_changes to the counts of conversations and reads their last time from what messages they
have left. started_at only ever moves back.';

create function core_upkeep.count_deleted_messages()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform core_upkeep.recount(array_agg(bot_id), array_agg(conversation_id), array_agg(-messages))
    from (
        select bot_id, conversation_id, count(*) as messages
        from old_rows
        group by bot_id, conversation_id
    ) as removed
    having count(*) > 0;

    insert into core.stale_days (bot_id, days)
    select bot_id, core.days_of(array_agg(sent_at)) from old_rows group by bot_id;
    return null;
end
$func$;

comment on function core_upkeep.count_deleted_messages() is
    'Trigger on core.messages: the conversations that lost messages are counted anew, their days
noted.';

create function core_upkeep.count_moved_messages()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_moved  record;
begin
    -- what two versions of a message have in common cancels out
    for v_moved in
        select array_agg(bot_id) as bots, array_agg(conversation_id) as conversations,
               array_agg(change) as changes, array_agg(days) as days
        from (
            select bot_id, conversation_id, sum(change)::bigint as change,
                   core.days_of(array_agg(sent_at)) as days
            from (
                select bot_id, conversation_id, sent_at, sum(change) as change
                from (
                    select *, -1 as change from old_rows
                    union all
                    select *, 1 from new_rows
                ) as r
                group by bot_id, conversation_id, message_id, sent_at, direction
                having sum(change) <> 0
            ) as moved
            group by bot_id, conversation_id
        ) as touched
        having count(*) > 0
    loop
        perform core_upkeep.recount(v_moved.bots, v_moved.conversations, v_moved.changes);
        insert into core.stale_days (bot_id, days)
        select * from unnest(v_moved.bots, v_moved.days);
    end loop;
    return null;
end
$func$;

comment on function core_upkeep.count_moved_messages() is
    'Trigger on core.messages: an UPDATE may move messages in time or to another conversation, or
turn their direction.';
