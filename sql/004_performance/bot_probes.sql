-- Probes of the bots and their partitions.

-- Each returns (labels, value, note); the note is for people only.

create function performance.probe_bots()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('status', status), count(*), null from core.bots group by status
$func$;

comment on function performance.probe_bots() is 'The probe bots.';

create function performance.probe_bot_messages()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('bot_id', t.bot_id::text, 'direction', d.direction), d.messages, null
from performance.bot_total as t
cross join lateral (
    values ('in', t.messages_in), ('out', t.messages_out)) as d (direction, messages)
$func$;

comment on function performance.probe_bot_messages() is 'The probe bot_messages.';

create function performance.probe_bot_last_message()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
-- one that is paused or retired may be silent
select jsonb_build_object('bot_id', t.bot_id::text), date_part('epoch', t.last_message_at), null
from performance.bot_total as t
join core.bots as b using (bot_id)
where b.status = 'active' and t.last_message_at is not null
$func$;

comment on function performance.probe_bot_last_message() is 'The probe bot_last_message.';

create function performance.probe_bot_reply()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
-- not "quantile": Prometheus keeps that label for summaries
select jsonb_build_object('bot_id', b.bot_id::text, 'percentile', p.percentile),
       date_part('epoch', p.reply), null
from core.bots as b
cross join lateral (
    select reply_p50, reply_p95
    from core.bot_metrics
    where bot_id = b.bot_id and day >= (now() at time zone 'UTC')::date - 1
      and reply_p50 is not null
    order by day desc
    limit 1
) as m
cross join lateral (values ('50', m.reply_p50), ('95', m.reply_p95)) as p (percentile, reply)
$func$;

comment on function performance.probe_bot_reply() is 'The probe bot_reply.';

create function performance.probe_partition_rows()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('table', table_name, 'partition', partition), live_rows, null
from performance.partition_health
$func$;

comment on function performance.probe_partition_rows() is 'The probe partition_rows.';

create function performance.probe_partition_size()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('table', table_name, 'partition', partition), octets, null
from performance.partition_health
$func$;

comment on function performance.probe_partition_size() is 'The probe partition_size.';

create function performance.probe_dead_rows()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('table', table_name, 'partition', partition),
       case when dead_rows < 10000 then 0 else dead_rows::float8 / (dead_rows + live_rows) end,
       format('%s dead rows, last vacuum %s', dead_rows, coalesce(vacuumed_at::text, 'never'))
from performance.partition_health
$func$;

comment on function performance.probe_dead_rows() is 'The probe dead_rows.';

create function performance.probe_bot_faults()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('bot_id', bot_id::text, 'kind', kind), 1,
       format('%s. %s', fault, what_to_do)
from performance.bot_fault
$func$;

comment on function performance.probe_bot_faults() is 'The probe bot_faults.';

create function performance.probe_uncounted()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
-- a writer folds from 20,000 on
select jsonb_build_object('bot_id', bot_id::text), count(*), null
from core.uncounted
group by bot_id
having count(*) >= 20000
$func$;

comment on function performance.probe_uncounted() is 'The probe uncounted.';
