-- The trigger's source text for INSERT and DELETE.

create function audit.fill_source(
    p_table      regclass,
    p_operation  text,
    p_template   text,
    p_parts      jsonb
)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
-- in one pass: a part may hold what looks like the name of another one
select string_agg(m[1] || coalesce(p.parts ->> m[2], ''), '' order by place)
from (
    select p_parts || jsonb_build_object(
        'months', quote_literal(core.leaf_name('audit.security_audit_log', 'y')),
        'table', quote_literal(p_table::text), 'operation', quote_literal(p_operation))
) as p (parts)
cross join lateral regexp_matches($source$
declare
    v_at  timestamptz := clock_timestamp();{variables}
begin
    if to_regclass({months} || to_char(v_at at time zone 'UTC', 'YYYY"m"MM')) is null then
        perform audit.ensure_month(v_at);
    end if;
$source$ || p_template || $source$
    return null;
end
$source$, e'(.*?)(?:\\{(\\w+)\\}|$)', 'g') with ordinality as u (m, place)
$func$;

comment on function audit.fill_source(regclass, text, text, jsonb) is
    'Body of a trigger''s function: a template with its {parts} filled in. Makes the month first, if
maintenance did not: a table''s own trigger could not.';

create function audit.weight_sql(p_table regclass, p_row text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
-- a character may print as six, as \u0001 does; jsonb has to be printed: kept compressed, it may
-- take a thousandth
select coalesce(string_agg(format(
           case when t.oid in ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype)
                then 'coalesce(6::bigint * octet_length(%1$s.%2$I), 0)'
                when t.oid = 'bytea'::regtype
                then 'coalesce(2::bigint * octet_length(%1$s.%2$I), 0)'
                when t.oid in ('json'::regtype, 'jsonb'::regtype)
                then 'coalesce(octet_length(%1$s.%2$I::text), 0)'
                else 'coalesce(6::bigint * octet_length(%1$s.%2$I::text), 0)' end,
           p_row, c.name), ' + ' order by c.place), '0')
from audit.captured_columns(p_table) as c
join pg_type as t on t.oid = c.base
where t.typlen < 0 and c.mark <> 'secret'
$func$;

comment on function audit.weight_sql(regclass, text) is
    'SQL for how many octets, at most, the values of a row of no fixed size take in the log, without
reading texts.';

create function audit.block_sql(p_weight text)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $func$
-- as if each row had at least a 4,096th of what a block may have
select format('(sum(least(greatest(%s, 4096), 1073741824)::integer) '
              'over (rows unbounded preceding) - 1) / 16777216', p_weight)
$func$;

comment on function audit.block_sql(text) is
    'SQL for the number of a row''s block, by the octets of the rows before it: a block has up to
4,096 rows and 16 MiB, more only by its last row.';

create function audit.row_parts(p_table regclass, p_is_digest boolean)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select jsonb_build_object(
    'bot', coalesce(max('coalesce(r.bot_id, 0)') filter (where name = 'bot_id'), '0::bigint'),
    'key', audit.key_sql(p_table),
    'block', audit.block_sql(
        case when p_is_digest then '0' else audit.weight_sql(p_table, 'r') end),
    'row_key', coalesce(string_agg(one, ', ' order by place) filter (where is_shown_key), ''),
    'row_keys', coalesce(string_agg(many, ', ' order by place) filter (where is_shown_key), ''),
    'row', case when p_is_digest then '''*'', ' || audit.row_digest_sql(p_table)
                else coalesce(string_agg(one, ', ' order by place) filter (where not is_key), '')
           end,
    'rows', case when p_is_digest
                 then format('''*'', array_to_json(array_agg(%s))', audit.row_digest_sql(p_table))
                 else coalesce(string_agg(many, ', ' order by place) filter (where not is_key), '')
            end)
from audit.captured_columns(p_table)
cross join lateral (
    select format('%L, %s', name, value), format('%L, array_to_json(array_agg(%s))', name, value),
           is_key and name <> 'bot_id'
) as e (one, many, is_shown_key)
$func$;

comment on function audit.row_parts(regclass, boolean) is
    'The parts of audit.row_source; with p_is_digest a digest in place of the values.';

create function audit.row_source(p_table regclass, p_operation text, p_policy text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select audit.fill_source(p_table, p_operation, $source$
    insert into audit.security_audit_log (
        occurred_at, operation, table_name, bot_id, first_key, last_key, row_keys, {side}_values)
    select v_at, {operation}, {table}, {bot}, {key}, {key},
           json_build_object({row_key}), json_build_object({row})
    from {side}_rows as r
    where not exists (select from {side}_rows offset 8);
    if found then
        return null;
    end if;

    insert into audit.security_audit_log (
        occurred_at, operation, table_name, bot_id, first_key, last_key, is_block, row_count,
        row_keys, {side}_values)
    select v_at, {operation}, {table}, {bot}, min({key}), max({key}), true, count(*),
           json_build_object({row_keys}), json_build_object({rows})
    from (
        select r.*, {block} as audit_block from {side}_rows as r
    ) as r
    group by r.audit_block, {bot};$source$,
    audit.row_parts(p_table, p_operation = 'INSERT' and p_policy = 'keys')
    || jsonb_build_object('side', case p_operation when 'INSERT' then 'new' else 'old' end))
$func$;

comment on function audit.row_source(regclass, text, text) is
    'Body of the function that records INSERT or DELETE on a table: up to 8 rows one by one, more as
blocks.';
