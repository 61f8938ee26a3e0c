-- What is captured of a table: columns, keys, marks.

create table audit.capture (
    relation  regclass  not null,
    policy    text      not null,

    constraint capture_pk        primary key (relation),
    constraint capture_policy_ck check (policy in ('changed', 'keys', 'off'))
);

comment on table audit.capture is
    'The tables whose changes are recorded, or were; made by audit.enable and audit.disable.';
comment on column audit.capture.relation is 'The table in core, not its leaves.';
comment on column audit.capture.policy is
    'changed: whole rows at INSERT and DELETE, changed columns at UPDATE. keys: what was, but of
what is now only a digest and which columns changed, since the row itself is there. off: nothing.';

create table audit.marked_column (
    relation     regclass  not null,
    column_name  name      not null,
    mark         text      not null,

    constraint marked_column_pk      primary key (relation, column_name),
    constraint marked_column_mark_ck check (mark in ('secret', 'derived'))
);

comment on table audit.marked_column is 'Columns with a rule of their own in the log.';
comment on column audit.marked_column.relation is 'The table.';
comment on column audit.marked_column.column_name is 'Its column.';
comment on column audit.marked_column.mark is
    'secret: never in the log, a salted digest shows that it changed. derived: kept by triggers from
other rows; an UPDATE of nothing else is not logged.';

create function audit.salt_octets()
returns bytea
language sql immutable  -- since the salt never changes: it is read once a plan, not by each row
set search_path = pg_catalog, pg_temp
as $func$
select salt from audit.salt
$func$;

comment on function audit.salt_octets() is
    'The salt, for the functions that record changes. Declared immutable, so that a plan that is
kept has it; nothing changes audit.salt.';

create function audit.digest_sql(p_text text)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $func$
select format('''sha256:'' || encode(sha256(audit.salt_octets() || convert_to(%s, ''UTF8'')), '
              '''base64'')', p_text)
$func$;

comment on function audit.digest_sql(text) is 'SQL for the salted digest of a text.';

create function audit.captured_columns(p_table regclass, p_row text default 'r')
returns table (place integer, name name, base regtype, value text, is_exact boolean,
               is_key boolean, mark text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select row_number() over (order by a.attnum)::integer, a.attname, t.oid,
       case when m.mark = 'secret' then audit.digest_sql(format('%s.%I::text', p_row, a.attname))
            -- arrays of several lengths, or null, would not add up to a block
            when t.typcategory = 'A' then format('to_json(%s.%I)', p_row, a.attname)
            when t.oid <> a.atttypid
                then format('%s.%I::%s', p_row, a.attname, format_type(t.oid, null))
            else format('%s.%I', p_row, a.attname) end,
       t.oid = any (array['int2', 'int4', 'int8', 'bool', 'date', 'timestamptz', 'uuid',
                          'text']::regtype[])
           and (a.attcollation = 0 or c.collisdeterministic),
       coalesce(a.attnum = any (i.indkey), false), coalesce(m.mark, '')
from pg_attribute as a
-- a domain's rules change: what is on record of a value doesn't follow them
cross join lateral (select core.base_type(a.atttypid) offset 0) as b (oid)  -- once a column
join pg_type as t on t.oid = b.oid
left join pg_collation as c on c.oid = a.attcollation
left join pg_index as i on i.indrelid = a.attrelid and i.indisprimary
left join audit.marked_column as m on m.relation = a.attrelid and m.column_name = a.attname
where a.attrelid = p_table and a.attnum > 0 and not a.attisdropped
$func$;

comment on function audit.captured_columns(regclass, text) is
    'The columns of a table: (place, name, base: the type under domains, value: SQL for what the log
may hold of a row, is_exact: whether equal values are the same, is_key: of the primary key, mark or
empty).';

create function audit.row_digest_sql(p_table regclass, p_row text default 'r')
returns text
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select audit.digest_sql(format('row(%s)::text', string_agg(
    case when c.base = 'timestamptz'::regtype  -- in no session's time zone
         then format('%s.%I at time zone ''UTC''', p_row, c.name) else c.value end,
    ', ' order by c.place)))
from audit.captured_columns(p_table, p_row) as c
where not c.is_key
$func$;

comment on function audit.row_digest_sql(regclass, text) is
    'SQL for the salted digest of all that a row holds beside its key; for DateStyle ISO.';

create function audit.key_sql(p_table regclass, p_row text default 'r')
returns text
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select format(case when b.oid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
                   then '%s.%I::bigint'
                   when b.oid = 'date'::regtype then '(%s.%I - date ''2000-01-01'')::bigint'
                   else 'hashtextextended(%s.%I::text, 0)' end, p_row, a.attname)
from pg_index as i
join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[i.indnkeyatts - 1]
cross join core.base_type(a.atttypid) as b (oid)
where i.indrelid = p_table and i.indisprimary
$func$;

comment on function audit.key_sql(regclass, text) is
    'SQL for the last column of a table''s primary key as a number: an integer, a date''s days since
2000, the hash of any other text. Null: the table has no primary key.';

-- The triggers' functions are generated: each names its columns, so that the server plans it once
-- per session, and builds nothing that is not logged.
