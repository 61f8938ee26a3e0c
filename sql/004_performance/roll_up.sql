-- core.bot_metrics and the totals, made from the messages.

create function performance.day_metrics(p_bot_id bigint, p_from date, p_to date)
returns table (day date, messages_in integer, messages_out integer, new_conversations integer,
               active_contacts integer, reply_p50 interval, reply_p95 interval)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set jit = off
set plan_cache_mode = force_generic_plan  -- for few days planning would be most of the cost
as $func$
declare
    -- a comparison with a date costs several times as much
    v_from  timestamptz := p_from::timestamptz;
    v_to    timestamptz := p_to::timestamptz;
begin
    if p_from < least(p_to, current_date) - 31 then  -- else the plan is made for so many days
        perform set_config('plan_cache_mode', 'force_custom_plan', true);
    end if;
    return query
        with message as (
            select m.sent_at::date as day, m.direction, c.profile_id,
                   case when m.direction = 'out' and lag(m.direction) over chat = 'in'
                        then m.sent_at - lag(m.sent_at) over chat end as reply
            from core.messages as m
            join core.conversations as c using (bot_id, conversation_id)
            where m.bot_id = p_bot_id and m.sent_at >= v_from - interval '1 day'
              and m.sent_at < v_to
            window chat as (partition by m.conversation_id order by m.sent_at, m.message_id)
        ), talk as (
            select m.day, count(*) filter (where m.direction = 'in')::integer as messages_in,
                   count(*) filter (where m.direction = 'out')::integer as messages_out,
                   count(distinct m.profile_id)::integer as active_contacts,
                   percentile_cont(array[0.5, 0.95]) within group (order by m.reply)
                       filter (where m.reply <= interval '1 day') as reply
            from message as m
            where m.day >= p_from
            group by m.day
        ), start as (
            select c.started_at::date as day, count(*)::integer as new_conversations
            from core.conversations as c
            where c.bot_id = p_bot_id and c.started_at >= v_from and c.started_at < v_to
            group by c.started_at::date
        )
        select coalesce(t.day, s.day), coalesce(t.messages_in, 0), coalesce(t.messages_out, 0),
               coalesce(s.new_conversations, 0), coalesce(t.active_contacts, 0),
               t.reply[1], t.reply[2]
        from talk as t
        full join start as s on s.day = t.day;
end
$func$;

comment on function performance.day_metrics(bigint, date, date) is
    'The rows of core.bot_metrics of one bot from p_from to before p_to, as its messages and
conversations say; none for a day on which nothing happened.';

create function performance.roll_up_bots(p_bots bigint[], p_days datemultirange[])
returns integer
language sql
set search_path = pg_catalog, pg_temp
as $func$
with span as materialized (
    select b.bot_id, lower(r.days) as first_day, upper(r.days) as next_day
    from unnest(p_bots, p_days) as b (bot_id, days)
    cross join lateral unnest(b.days) as r (days)
), fresh as materialized (
    select s.bot_id, d.*
    from span as s
    cross join lateral performance.day_metrics(s.bot_id, s.first_day, s.next_day) as d
), gone as (
    delete from core.bot_metrics as m
    using span as s
    where m.bot_id = s.bot_id and m.day >= s.first_day and m.day < s.next_day
      and not exists (select from fresh as f where f.bot_id = m.bot_id and f.day = m.day)
    returning m.day
), stored as (
    insert into core.bot_metrics as m (
        bot_id, day, messages_in, messages_out, new_conversations, active_contacts, reply_p50,
        reply_p95)
    select f.bot_id, f.day, f.messages_in, f.messages_out, f.new_conversations, f.active_contacts,
           f.reply_p50, f.reply_p95
    from fresh as f
    on conflict (bot_id, day) do update
        set messages_in = excluded.messages_in, messages_out = excluded.messages_out,
            new_conversations = excluded.new_conversations,
            active_contacts = excluded.active_contacts,
            reply_p50 = excluded.reply_p50, reply_p95 = excluded.reply_p95
        where (m.messages_in, m.messages_out, m.new_conversations, m.active_contacts, m.reply_p50,
               m.reply_p95)
              is distinct from (
               excluded.messages_in, excluded.messages_out, excluded.new_conversations,
               excluded.active_contacts, excluded.reply_p50, excluded.reply_p95)
    returning m.day
)
select ((select count(*) from gone) + (select count(*) from stored))::integer
$func$;

comment on function performance.roll_up_bots(bigint[], datemultirange[]) is
    'Makes the rows of core.bot_metrics for these days of each bot what its messages say; returns
how many changed. One statement for all bots: one for each would cost more than what it finds.';

create function performance.roll_up_totals(p_bots bigint[])
returns void
language sql
set search_path = pg_catalog, pg_temp
as $func$
insert into performance.bot_total as t (
    bot_id, contacts, conversations, messages_in, messages_out, messages_7_days, messages_30_days,
    last_message_at, rolled_up_at)
select b.bot_id, coalesce(g.contacts, 0), coalesce(m.conversations, 0), coalesce(m.messages_in, 0),
       coalesce(m.messages_out, 0), coalesce(m.messages_7_days, 0),
       coalesce(m.messages_30_days, 0), l.last_message_at, clock_timestamp()
from core.bots as b
left join (
    select bot_id, count(*) as contacts
    from core.girls_profiles
    where bot_id = any (p_bots)
    group by bot_id
) as g using (bot_id)
left join (
    select bot_id, sum(new_conversations) as conversations, sum(messages_in) as messages_in,
           sum(messages_out) as messages_out,
           sum(messages_in::bigint + messages_out)
               filter (where day > t.today - 7 and day <= t.today) as messages_7_days,
           sum(messages_in::bigint + messages_out)
               filter (where day > t.today - 30 and day <= t.today) as messages_30_days
    from core.bot_metrics
    cross join (select (now() at time zone 'UTC')::date) as t (today)
    where bot_id = any (p_bots)
    group by bot_id
) as m using (bot_id)
left join lateral (
    select m.sent_at
    from core.messages as m
    where m.bot_id = b.bot_id
    order by m.sent_at desc
    limit 1
) as l (last_message_at) on true
where b.bot_id = any (p_bots)
on conflict (bot_id) do update
    set contacts = excluded.contacts, conversations = excluded.conversations,
        messages_in = excluded.messages_in, messages_out = excluded.messages_out,
        messages_7_days = excluded.messages_7_days, messages_30_days = excluded.messages_30_days,
        last_message_at = excluded.last_message_at, rolled_up_at = excluded.rolled_up_at
$func$;

comment on function performance.roll_up_totals(bigint[]) is
    'Fills performance.bot_total anew, for these bots.';

create function performance.roll_up_each(p_bots bigint[], p_days datemultirange[])
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_changed  integer := 0;
    v_fault    text;
    v_detail   text;
begin
    for v_place in 1 .. cardinality(p_bots) loop
        begin
            v_changed := v_changed + performance.roll_up_bots(
                array[p_bots[v_place]], array[p_days[v_place]]);
            perform performance.roll_up_totals(array[p_bots[v_place]]);
        exception when others then  -- kept for health, and the days for the next roll-up
            if performance.is_servers_trouble(sqlstate) then
                raise;
            end if;
            get stacked diagnostics v_detail = pg_exception_detail;
            v_fault := format('%s (SQLSTATE %s)', sqlerrm, sqlstate);
            raise log 'bot % was not rolled up: %', p_bots[v_place], v_fault;
            perform performance.note_fault(
                p_bots[v_place], 'roll_up',
                format('the days %s of bot %s could not be rolled up: %s', p_days[v_place],
                       p_bots[v_place], concat_ws(' ', v_fault, nullif(v_detail, ''))),
                'Correct the row that the error is about, then: '
                'select performance.run_task(''roll_up'')');
            insert into core.stale_days (bot_id, days) values (p_bots[v_place], p_days[v_place]);
        end;
    end loop;
    return v_changed;
end
$func$;

comment on function performance.roll_up_each(bigint[], datemultirange[]) is
    'Rolls up each bot by itself; returns how many rows changed. A bot whose rows make that fail is
noted in performance.bot_fault, its days in core.stale_days again.';

create function performance.roll_up_metrics(p_since date default null)
returns integer
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set timezone = 'UTC'
set work_mem = '64MB'
set jit = off
as $func$
declare
    v_last     timestamptz;
    v_started  timestamptz := clock_timestamp();
    v_since    date;
    v_bots     bigint[];
    v_days     datemultirange[];
    v_odd      bigint[];
    v_changed  integer;
begin
    select started_at into v_last from performance.last_roll_up for update;
    -- a day earlier: of what was written then, some was not committed yet
    v_since := least(p_since, v_last::date - 1);
    with noted as (
        -- seen, hence committed: the messages too, when the days are read after this
        delete from core.stale_days returning bot_id, days
    ), stale as (
        -- an answer of the day after may be one no longer
        select n.bot_id, range_agg(daterange(lower(r), upper(r) + 1)) as days,
               bool_or(not n.days <@ performance.known_days()) as is_odd
        from noted as n
        cross join lateral unnest(n.days) as r
        group by n.bot_id
    ), bot as (
        select b.bot_id
        from core.bots as b
        order by b.bot_id
        for key share of b  -- a bot that is being dropped gets no new rows
    )
    select coalesce(array_agg(b.bot_id), '{}'),
           array_agg((datemultirange(daterange(v_since, 'infinity')) + coalesce(s.days, '{}'))
                     * performance.known_days()),
           array_agg(b.bot_id) filter (
               where s.is_odd or v_since < lower(performance.known_days()) or f.bot_id is not null)
    into v_bots, v_days, v_odd
    from bot as b
    left join stale as s using (bot_id)
    left join performance.bot_fault as f
        on f.bot_id = b.bot_id and f.kind = 'conversation_start';
    -- a bot that went while the last roll-up was under way, or not by security.drop_bot
    delete from performance.bot_total as t
    where not exists (select from core.bots as b where b.bot_id = t.bot_id);
    delete from performance.bot_fault as f
    where f.kind = 'roll_up' or not exists (select from core.bots as b where b.bot_id = f.bot_id);
    begin
        v_changed := performance.roll_up_bots(v_bots, v_days);
        perform performance.roll_up_totals(v_bots);
    exception when others then
        if performance.is_servers_trouble(sqlstate) then
            raise;
        end if;
        -- whose rows it was is found by doing one bot after the other
        v_changed := performance.roll_up_each(v_bots, v_days);
    end;
    perform performance.note_odd_starts(v_odd);
    update performance.last_roll_up set started_at = v_started;
    return v_changed;
end
$func$;

comment on function performance.roll_up_metrics(date) is
    'Makes core.bot_metrics what the messages say: for the days since the last roll-up (or since
p_since, if that is earlier; -infinity: all) and those in core.stale_days; returns how many rows
changed. The same as a roll-up of everything, unless a transaction took longer than a day, or the
tables'' owner gave a conversation to another contact. A bot whose rows can''t be rolled up is
left out and named in performance.bot_fault.';
