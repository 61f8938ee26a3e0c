-- The log row by row, a row's history, one correlation id.

create function audit.block_rows(p_row_keys json, p_old_values json, p_new_values json)
returns table (place bigint, row_key jsonb, old_values jsonb, new_values jsonb)
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
with key as (
    select v.place, jsonb_object_agg(c.key, v.value::jsonb) as row_key
    from json_each(case json_typeof(p_row_keys) when 'object' then p_row_keys end) as c
    cross join lateral json_array_elements(case json_typeof(c.value) when 'array' then c.value end)
        with ordinality as v (value, place)
    group by v.place
), old as (
    select c.key as name, v.place, v.value::text
    from json_each(case json_typeof(p_old_values) when 'object' then p_old_values end) as c
    cross join lateral json_array_elements(case json_typeof(c.value) when 'array' then c.value end)
        with ordinality as v (value, place)
), new as (
    select c.key as name, v.place, v.value::text
    from json_each(case json_typeof(p_new_values) when 'object' then p_new_values end) as c
    cross join lateral json_array_elements(case json_typeof(c.value) when 'array' then c.value end)
        with ordinality as v (value, place)
), value as (
    -- of an UPDATE, a column stands in a block as soon as it changed in one of its rows
    select place, jsonb_object_agg(name, o.value::jsonb) as old_values,
           jsonb_object_agg(name, n.value::jsonb) as new_values
    from old as o
    full join new as n using (name, place)
    where o.value is distinct from n.value
    group by place
)
select place, coalesce(k.row_key, '{}'),
       case when p_old_values is not null then coalesce(v.old_values, '{}') end,
       case when p_new_values is not null then coalesce(v.new_values, '{}') end
from key as k
full join value as v using (place)
$func$;

comment on function audit.block_rows(json, json, json) is
    'The rows of a block: (place in it, row_key, old_values, new_values); none if it is no block.';

create view audit.events
with (security_invoker = true)
as
select l.occurred_at, l.operation, l.table_name, l.bot_id, r.row_key,
       case l.operation when 'DELETE' then r.row_key || r.old_values else r.old_values end
           as old_values,
       case when l.operation = 'INSERT' then r.row_key || r.new_values
            when l.kind = 'erasure' then r.new_values || coalesce((
                select jsonb_build_object('reason', w.new_values ->> 'reason')
                from audit.security_audit_log as w
                where w.bot_id = 0 and w.table_name is null and w.kind = 'erasure_reason'
                  and w.transaction_id = l.transaction_id and w.entry_id < l.entry_id
                order by w.entry_id desc limit 1), '{}')
            else r.new_values end as new_values,
       l.kind, l.severity, l.login, l.role, l.actor, l.correlation_id, l.transaction_id,
       l.client_address, l.application_name, l.entry_id, r.place, l.is_block, l.first_key,
       l.last_key
from (
    select e.*, case when e.bot_id = 0 then '{}'
                     else jsonb_build_object('bot_id', e.bot_id) end as bot_key
    from audit.security_audit_log as e
) as l
cross join lateral (
    select 1::bigint as place, l.bot_key || l.row_keys::jsonb as row_key,
           l.old_values::jsonb as old_values, l.new_values::jsonb as new_values
    where not l.is_block
    union all
    select b.place, l.bot_key || b.row_key, b.old_values, b.new_values
    from audit.block_rows(l.row_keys, l.old_values, l.new_values) as b
    where l.is_block
) as r;

comment on view audit.events is
    'The log, one row per changed row or event. Order it by entry_id, place. Everybody sees the
entries that are theirs to read; the reason of an erasure stands in an entry that no bot may read,
and is shown with the erasure to who may.';
comment on column audit.events.row_key is 'The row''s primary key.';
comment on column audit.events.place is 'Which row of its entry.';

create function audit.row_history(p_table regclass, p_key jsonb)
returns setof audit.events
language plpgsql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_bot_id  bigint;
    v_number  bigint;
begin
    perform audit.require_auditable(p_table);
    if jsonb_typeof(p_key) = 'object' and coalesce(p_key ->> 'bot_id', '0') ~ '^[0-9]{1,18}$' then
        v_bot_id := (p_key ->> 'bot_id')::bigint;
        begin
            execute format('select %s from jsonb_populate_record(null::%s, $1) as r',
                           audit.key_sql(p_table), p_table)
            into v_number using p_key;
        exception
            when data_exception then
                v_number := null;
        end;
    end if;
    if v_number is null then
        raise exception using
            errcode = 'MB212',
            message = format('%s names no row of %s',
                             quote_nullable(left(p_key::text, 100)), p_table),
            hint    = 'Pass an object with all of the primary key, as row_key in audit.events.';
    end if;
    if v_bot_id is null then  -- not for everybody who reads the log to call
        v_bot_id := coalesce(core.current_bot_id(), 0);
    end if;
    -- entries of one row by their key, blocks by the keys they reach over
    return query execute $query$
        select * from audit.events
        where bot_id = $1 and table_name = $2 and not is_block and first_key = $3 and row_key @> $4
        union all
        select * from audit.events
        where bot_id = $1 and table_name = $2 and is_block and first_key <= $3 and last_key >= $3
          and row_key @> $4
        order by entry_id, place$query$
    using v_bot_id, p_table::text, v_number, p_key;
end
$func$;

comment on function audit.row_history(regclass, jsonb) is
    'What happened to one row, first to last: audit.row_history(''core.messages'', ''{"bot_id": 7,
"message_id": 12}''). The key''s last column must be there; a bot leaves bot_id out. MB201, MB212.';

create function audit.by_correlation(p_correlation_id uuid)
returns setof audit.events
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select * from audit.events where correlation_id = p_correlation_id order by entry_id, place
$func$;

comment on function audit.by_correlation(uuid) is
    'All that was changed under one correlation id (app.correlation_id), or by one transaction.';
