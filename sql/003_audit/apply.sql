-- 003_audit: every change of the bots' tables is on record, and the record can't be altered
-- quietly.
-- depends: 002_security
-- locks:   SHARE ROW EXCLUSIVE on every table in core, for as long as the migration takes
-- undo:    rollback.sql detaches it; refuses while the log holds rows, or moves them to public

set local search_path = pg_catalog, pg_temp;
set local lock_timeout = '3s';
set local row_security = on;  -- or no function could name a table whose rows are filtered

create schema audit;
create schema audit_partitions;

comment on schema audit is 'Who changed what: the log, what writes it, its seals and its end.';
comment on schema audit_partitions is 'The months of audit.security_audit_log.';

insert into core.error_code (code, name, meaning, remedy) values
    ('MB201', 'not_auditable',          'A table can''t be audited as it is.',
        'Change the table as the message says.'),
    ('MB202', 'log_is_append_only',     'The audit log and its seals are never changed.',
        'Leave them: audit.erase blanks what a person may have erased.'),
    ('MB203', 'leaf_write_refused',     'A statement names a partition, where nothing is audited.',
        'Write through the table in core.'),
    ('MB204', 'invalid_correlation_id', 'app.correlation_id is set and is no uuid.',
        'Set it to a uuid, or to nothing.'),
    ('MB205', 'unknown_policy',         'An audit policy is named that is not there.',
        'Pass changed or keys.'),
    ('MB206', 'invalid_retention',      'The log is to be kept for too short a time, or too long.',
        'Pass 30 to 36500 days.'),
    ('MB207', 'nothing_to_erase',       'The log knows nothing of this person.',
        'Check bot_id and telegram_id; a reason is needed, too.'),
    ('MB208', 'not_audited',            'The table has never been audited.',
        'Call audit.enable for it, as its owner.'),
    ('MB209', 'invalid_event',          'An event has no kind of its own, or no severity.',
        'Choose a kind of your own; info, notice, warning or critical.');

-- The log ---------------------------------------------------------------------

create function audit.to_correlation_id(p_text text)
returns uuid
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $func$
begin
    if p_text !~* '^[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}$' then
        raise exception using
            errcode = 'MB204',
            message = format('app.correlation_id is %L, which is no uuid', left(p_text, 100)),
            hint    = 'set app.correlation_id to a uuid, as of gen_random_uuid(), or to nothing.';
    end if;
    return p_text::uuid;
end
$func$;

comment on function audit.to_correlation_id(text) is
    'The setting app.correlation_id as a uuid. MB204: it is none.';

-- transaction_id comes first, so that a transaction has one before it draws an entry_id: audit.seal
-- counts on it. No constraint beyond NOT NULL and no partial index: the server would prepare their
-- expressions anew for every statement, at a third of what an entry costs.
create table audit.security_audit_log (
    transaction_id    bigint       not null default txid_current(),
    entry_id          bigint       generated always as identity,
    occurred_at       timestamptz  not null default clock_timestamp(),
    bot_id            bigint,
    first_key         bigint,
    last_key          bigint,
    correlation_id    uuid         not null
        default case when current_setting('app.correlation_id', true) <> ''
                     then audit.to_correlation_id(current_setting('app.correlation_id', true))
                     else lpad(to_hex(txid_current()), 32, '0')::uuid end,
    row_count         integer      not null default 1,
    is_block          boolean      not null default false,
    operation         text         not null,
    table_name        text         collate "C",
    kind              text,
    severity          text,
    login             text         not null default session_user,
    role              text         not null
        default case current_setting('role') when 'none' then session_user::text
                     else current_setting('role') end,
    actor             text         default nullif(current_setting('app.actor', true), ''),
    client_address    inet         default inet_client_addr(),
    application_name  text         default nullif(current_setting('application_name'), ''),
    row_keys          json,
    old_values        json,
    new_values        json
) partition by range (occurred_at);

comment on table audit.security_audit_log is
    'One entry per changed row, or, for a statement that changed more than 8 rows, per bot and 4,096
of its rows: a block. Written by triggers as each statement ends. audit.events shows one row per
changed row. Partitioned by month.';
comment on column audit.security_audit_log.transaction_id is 'pg_current_xact_id(), as a number.';
comment on column audit.security_audit_log.occurred_at is
    'When the entry was written: the clock''s time, not the transaction''s.';
comment on column audit.security_audit_log.bot_id is
    'Whose row changed; who may read that bot''s entries reads this one.';
comment on column audit.security_audit_log.first_key is
    'Least last column of the primary key among the rows, as a number: see audit.key_sql.';
comment on column audit.security_audit_log.last_key is 'The greatest of them.';
comment on column audit.security_audit_log.correlation_id is
    'What ties together the changes of one request: the setting app.correlation_id, else a uuid made
of the transaction''s id.';
comment on column audit.security_audit_log.row_count is 'How many rows the entry is about.';
comment on column audit.security_audit_log.is_block is
    'Whether row_keys, old_values and new_values are {"column": [one value per row]}, and not
{"column": value}.';
comment on column audit.security_audit_log.operation is
    'INSERT, UPDATE, DELETE or TRUNCATE of rows, or EVENT: see audit.log_event.';
comment on column audit.security_audit_log.table_name is 'With its schema; null of an EVENT.';
comment on column audit.security_audit_log.kind is 'What happened; of an EVENT only.';
comment on column audit.security_audit_log.severity is
    'info, notice, warning or critical; of an EVENT only.';
comment on column audit.security_audit_log.login is 'session_user: who logged in. A fact.';
comment on column audit.security_audit_log.role is 'The role in force (SET ROLE). A fact.';
comment on column audit.security_audit_log.actor is
    'The setting app.actor: who, by the program''s word, it was done for. A claim.';
comment on column audit.security_audit_log.client_address is
    'Where the connection came from; null for one by a socket of the machine.';
comment on column audit.security_audit_log.application_name is
    'What the program calls itself. A claim.';
comment on column audit.security_audit_log.row_keys is
    'Columns of the primary key, without bot_id.';
comment on column audit.security_audit_log.old_values is
    'UPDATE: the columns that changed, as they were. DELETE: all others than the key.';
comment on column audit.security_audit_log.new_values is
    'UPDATE: the columns that changed, as they are. INSERT: all others than the key. Under policy
keys {"*": digest of the row without its key} in place of any value. EVENT: its detail.';

create index security_audit_log_entry_idx on audit.security_audit_log (entry_id);
create index security_audit_log_correlation_idx on audit.security_audit_log (correlation_id);
create index security_audit_log_row_idx
    on audit.security_audit_log (bot_id, table_name, is_block, first_key, last_key);

comment on index audit.security_audit_log_entry_idx is 'For audit.seal and audit.verify_seals.';
comment on index audit.security_audit_log_correlation_idx is 'For audit.by_correlation.';
comment on index audit.security_audit_log_row_idx is
    'For audit.row_history, and events: these have no table_name, and most have no bot_id.';

do $compression$
declare
    v_column  name;
begin
    if 'lz4' = any (
        select unnest(enumvals) from pg_settings where name = 'default_toast_compression') then
        foreach v_column in array array['row_keys', 'old_values', 'new_values'] loop
            execute format('alter table audit.security_audit_log alter %I set compression lz4',
                           v_column);
        end loop;
    end if;
end
$compression$;

create table audit.setting (
    retention_days  integer  not null default 400,

    constraint setting_retention_ck check (retention_days between 30 and 36500)
);

comment on table audit.setting is 'One row; audit.set_retention changes it.';
comment on column audit.setting.retention_days is
    'How long a month of the log is kept after its end, in days.';

create unique index setting_one_row on audit.setting ((true));
comment on index audit.setting_one_row is 'There is one row.';
insert into audit.setting default values;

create table audit.salt (
    salt  bytea  not null
);

comment on table audit.salt is
    'One row: what the digests of values are salted with, so that nobody finds a value by trying.';

comment on column audit.salt.salt is '32 random bytes, made here and never changed.';

insert into audit.salt (salt)
values (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- Events ----------------------------------------------------------------------

create function audit.ensure_month(p_at timestamptz)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform core.ensure_partition('audit.security_audit_log', p_at);
end
$func$;

comment on function audit.ensure_month(timestamptz) is
    'Makes the log''s month that holds this time, unless it is there; writers call it on demand.';

create function audit.record_event(
    p_kind      text,
    p_severity  text,
    p_detail    jsonb,
    p_bot_id    bigint  default null
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_at  timestamptz := clock_timestamp();
begin
    perform audit.ensure_month(v_at);
    insert into audit.security_audit_log
        (occurred_at, bot_id, operation, kind, severity, new_values)
    values (v_at, p_bot_id, 'EVENT', p_kind, p_severity, p_detail::json);
end
$func$;

comment on function audit.record_event(text, text, jsonb, bigint) is
    'Puts an event on record, of the audit''s own kinds, too.';

create function audit.log_event(
    p_kind      text,
    p_severity  text,
    p_detail    jsonb,
    p_bot_id    bigint  default null
)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    -- audit.verify_seals believes these
    if p_kind in ('capture', 'erasure', 'retention', 'setting') then
        raise exception using
            errcode = 'MB209',
            message = format('an event of kind %s is the audit''s own to record', p_kind),
            hint    = 'Choose another kind.';
    end if;
    if p_kind is null or p_severity is null
       or p_severity not in ('info', 'notice', 'warning', 'critical') then
        raise exception using
            errcode = 'MB209',
            message = format('an event can''t be of kind %s and severity %s',
                             quote_nullable(p_kind), quote_nullable(p_severity)),
            hint    = 'Pass a kind, and info, notice, warning or critical.';
    end if;
    perform audit.record_event(p_kind, p_severity, p_detail, p_bot_id);
end
$func$;

comment on function audit.log_event(text, text, jsonb, bigint) is
    'Puts an event on record: kind, severity (info, notice, warning, critical), detail (no secrets,
no personal data), and the bot it is about, who may then read it. Goes when its transaction is
rolled back. MB209: the kind is one of the audit''s own, or something is missing.';

-- Guards ----------------------------------------------------------------------

create function audit.refuse_change()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    if current_user = 'app_auditor'
       and current_setting('audit.erasing', true) = txid_current()::text then
        return null;
    end if;
    -- an entry would go with the transaction; the server log keeps this line
    raise log 'audit: % of % refused, login %, role %',
        lower(tg_op), tg_relid::regclass, session_user, current_user;
    raise exception using
        errcode = 'MB202',
        message = format('%s of %s is refused', lower(tg_op), tg_relid::regclass),
        detail  = format('Login %s, role %s.', session_user, current_user),
        hint    = 'Old months go by audit.drop_expired, what a person may have erased by '
                  'audit.erase.';
end
$func$;

comment on function audit.refuse_change() is
    'Trigger: the log and its seals only grow. Lets audit.erase through, by a mark that whoever may
act as app_auditor could set as well: audit.verify_seals names what they change.';

create function audit.refuse_leaf_write()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    raise log 'audit: % of % refused, login %, role %',
        lower(tg_op), tg_relid::regclass, session_user, current_user;
    raise exception using
        errcode = 'MB203',
        message = format('%s of partition %s is refused', lower(tg_op), tg_relid::regclass),
        detail  = format('Login %s, role %s.', session_user, current_user),
        hint    = format('Write through %s: the audit would not see it here.',
                         (select inhparent::regclass from pg_inherits where inhrelid = tg_relid));
end
$func$;

comment on function audit.refuse_leaf_write() is
    'Trigger of a leaf, fired by statements that name the leaf and by no others (MB203). Without
exemption: one by pg_trigger_depth() would let any trigger write unaudited.';

create function audit.guard_leaf(p_leaf regclass)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    execute format('create or replace trigger refuse_leaf_write '
                   'before insert or update or delete on %s '
                   'for each statement execute function audit.refuse_leaf_write()', p_leaf);
    execute format('alter table %s enable always trigger refuse_leaf_write', p_leaf);
    perform audit.note_capture(jsonb_build_object('leaf', p_leaf::text, 'state', 'guarded'));
end
$func$;

comment on function audit.guard_leaf(regclass) is
    'Stops writes that are aimed at a leaf. Each new leaf is given to it (core.leaf_hook).';

-- What is captured ------------------------------------------------------------

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

create function audit.digest_sql(p_text text)
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $func$
select format('''sha256:'' || encode(sha256((select s.salt from audit.salt as s) '
              '|| convert_to(%s, ''UTF8'')), ''base64'')', p_text)
$func$;

comment on function audit.digest_sql(text) is 'SQL for the salted digest of a text.';

create function audit.captured_columns(p_table regclass, p_row text default 'r')
returns table (place integer, name name, value text, is_exact boolean, is_key boolean, mark text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select row_number() over (order by a.attnum)::integer, a.attname,
       case when m.mark = 'secret' then audit.digest_sql(format('%s.%I::text', p_row, a.attname))
            -- arrays of several lengths, or null, would not add up to a block
            when t.typcategory = 'A' then format('to_json(%s.%I)', p_row, a.attname)
            else format('%s.%I', p_row, a.attname) end,
       a.atttypid = any (array['int2', 'int4', 'int8', 'bool', 'date', 'timestamptz', 'uuid',
                               'text']::regtype[])
           and (a.attcollation = 0 or c.collisdeterministic),
       coalesce(a.attnum = any (i.indkey), false), coalesce(m.mark, '')
from pg_attribute as a
join pg_type as t on t.oid = a.atttypid
left join pg_collation as c on c.oid = a.attcollation
left join pg_index as i on i.indrelid = a.attrelid and i.indisprimary
left join audit.marked_column as m on m.relation = a.attrelid and m.column_name = a.attname
where a.attrelid = p_table and a.attnum > 0 and not a.attisdropped
$func$;

comment on function audit.captured_columns(regclass, text) is
    'The columns of a table: (place, name, value: SQL for what the log may hold of a row, is_exact:
whether equal values are the same, is_key: of the primary key, mark or empty).';

create function audit.row_digest_sql(p_table regclass, p_row text default 'r')
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select audit.digest_sql(format('row(%s)::text', string_agg(
    case when a.atttypid = 'timestamptz'::regtype  -- in no session's time zone
         then format('%s.%I at time zone ''UTC''', p_row, c.name) else c.value end,
    ', ' order by c.place)))
from audit.captured_columns(p_table, p_row) as c
join pg_attribute as a on a.attrelid = p_table and a.attname = c.name
where not c.is_key
$func$;

comment on function audit.row_digest_sql(regclass, text) is
    'SQL for the salted digest of all that a row holds beside its key; for DateStyle ISO.';

create function audit.key_sql(p_table regclass, p_row text default 'r')
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select format(case when a.atttypid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
                   then '%s.%I::bigint'
                   when a.atttypid = 'date'::regtype then '(%s.%I - date ''2000-01-01'')::bigint'
                   else 'hashtextextended(%s.%I::text, 0)' end, p_row, a.attname)
from pg_index as i
join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = i.indkey[i.indnkeyatts - 1]
where i.indrelid = p_table and i.indisprimary
$func$;

comment on function audit.key_sql(regclass, text) is
    'SQL for the last column of a table''s primary key as a number: an integer, a date''s days since
2000, the hash of any other text. Null: the table has no primary key.';

-- The triggers' functions are generated: each names its columns, so that the server plans it once
-- per session, and builds nothing that is not logged.

create function audit.fill_source(
    p_table      regclass,
    p_operation  text,
    p_template   text,
    p_parts      jsonb
)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
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
    v_at  timestamptz := clock_timestamp();
begin
    if to_regclass({months} || to_char(v_at at time zone 'UTC', 'YYYY"m"MM')) is null then
        perform audit.ensure_month(v_at);
    end if;
$source$ || p_template || $source$
    return null;
end
$source$, '(.*?)(?:\{(\w+)\}|$)', 'g') with ordinality as u (m, place)
$func$;

comment on function audit.fill_source(regclass, text, text, jsonb) is
    'Body of a trigger''s function: a template with its {parts} filled in. Makes the month first, if
maintenance did not: a table''s own trigger could not.';

create function audit.row_parts(p_table regclass, p_is_digest boolean)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object(
    'bot', coalesce(max('r.bot_id') filter (where name = 'bot_id'), 'null::bigint'),
    'key', audit.key_sql(p_table),
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
language sql
stable
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
        select r.*, (row_number() over () - 1) / 4096 as audit_block from {side}_rows as r
    ) as r
    group by r.audit_block, {bot};$source$,
    audit.row_parts(p_table, p_operation = 'INSERT' and p_policy = 'keys')
    || jsonb_build_object('side', case p_operation when 'INSERT' then 'new' else 'old' end))
$func$;

comment on function audit.row_source(regclass, text, text) is
    'Body of the function that records INSERT or DELETE on a table: up to 8 rows one by one, more as
blocks.';

create function audit.update_columns(p_table regclass, p_policy text)
returns table (place integer, name name, is_key boolean, is_logged boolean, was text, now text,
               differs text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select o.place, o.name, o.is_key, o.mark <> 'derived', o.value,
       case p_policy when 'keys' then '''[in the row]''::text' else n.value end,
       -- compared as images: what is equal in another form (1.0 and 1.00) did change
       format(case when o.is_exact then 'o.%1$I is distinct from n.%1$I'
                   else 'record_image_ne(row(o.%1$I), row(n.%1$I))' end, o.name)
from audit.captured_columns(p_table, 'o') as o
join audit.captured_columns(p_table, 'n') as n using (place)
$func$;

comment on function audit.update_columns(regclass, text) is
    'SQL for each column of a table in an UPDATE: (place, name, is_key, is_logged, was, now,
differs), of a row o before and n after. Under policy keys what it is now stands in the row only.';

create function audit.update_parts(p_table regclass, p_policy text)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object(
    'bot', coalesce(max('o.bot_id') filter (where name = 'bot_id'), 'null::bigint'),
    'key', audit.key_sql(p_table, 'o'),
    'row_key', coalesce(string_agg(format('%L, p.o_%s', name, place), ', ' order by place)
                        filter (where is_key and name <> 'bot_id'), ''),
    'row_keys', coalesce(string_agg(format('%L, array_to_json(array_agg(p.o_%s))', name, place),
                                    ', ' order by place)
                         filter (where is_key and name <> 'bot_id'), ''),
    'differs', string_agg(format('p.c_%s', place), ' or ' order by place) filter (where is_logged),
    'columns', string_agg(format('%1$s as o_%4$s, %2$s as n_%4$s, %3$s as c_%4$s',
                                 was, now, differs, place), e',\n               ' order by place)
               || case p_policy when 'keys'
                  then format(e',\n               %s as audit_digest',
                              audit.row_digest_sql(p_table, 'n'))
                  else '' end)
from audit.update_columns(p_table, p_policy)
$func$;

comment on function audit.update_parts(regclass, text) is
    'The parts of audit.update_source that both sides have in common; of a column, o_<place> and
n_<place> are what it was and is, c_<place> whether it changed.';

create function audit.update_sides(p_table regclass, p_policy text)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
-- with as few calls as can be: the server looks each up whenever the statement starts
with piece as (
    select place, side,
           format('case when p.c_%1$s then %2$L end, '
                  'case when p.c_%1$s then coalesce(to_json(p.%3$s_%1$s), ''null'') end',
                  place, ',' || to_json(name) || ':', side) as one,
           format('case when bool_or(p.c_%1$s) then %2$L end, case when bool_or(p.c_%1$s) then '
                  'array_to_json(array_agg(case when p.c_%1$s then p.%3$s_%1$s end)) end',
                  place, ',' || to_json(name) || ':', side) as many
    from audit.update_columns(p_table, p_policy)
    cross join (values ('o'), ('n')) as v (side)
    where is_logged
    union all
    select 0, 'n', ''',"*":'', to_json(p.audit_digest)',
           ''',"*":'', array_to_json(array_agg(p.audit_digest))'
    where p_policy = 'keys'
)
select jsonb_object_agg('row_' || side, ones) || jsonb_object_agg('rows_' || side, manys)
from (
    select side, string_agg(e'\n            ' || one, ',' order by place) as ones,
           string_agg(e'\n            ' || many, ',' order by place) as manys
    from piece
    group by side
) as s
$func$;

comment on function audit.update_sides(regclass, text) is
    'The parts of audit.update_source that say what changed: row_o, row_n, rows_o, rows_n.';

create function audit.update_source(p_table regclass, p_policy text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with template (one_by_one, pair, pairs) as (
    values ($source$
    insert into audit.security_audit_log (
        occurred_at, operation, table_name, bot_id, first_key, last_key, row_keys, old_values,
        new_values)
    select v_at, {operation}, {table}, p.audit_bot, p.audit_key, p.audit_key,
        json_build_object({row_key}),
        ('{' || substr(concat({row_o}), 2) || '}')::json,
        ('{' || substr(concat({row_n}), 2) || '}')::json
    from ($source$, $source$
        select {bot} as audit_bot, {key} as audit_key,
               {columns}$source$, $source$
        from (select r.*, row_number() over () as audit_row from old_rows as r) as o
        -- full join: a plan that was made for few rows must not be a nested loop
        full join (select r.*, row_number() over () as audit_row from new_rows as r) as n
            using (audit_row)
        offset 0
    ) as p$source$)
)
-- one row, by far the most frequent, has no pairs to find
select audit.fill_source(p_table, 'UPDATE', one_by_one || pair || $source$
        from old_rows as o, new_rows as n
        where not exists (select from old_rows offset 1)
        offset 0
    ) as p
    where {differs};
    if found or not exists (select from old_rows offset 1) then
        return null;
    end if;
$source$ || one_by_one || pair || pairs || $source$
    where not exists (select from old_rows offset 8) and ({differs});
    if found then
        return null;
    end if;

    insert into audit.security_audit_log (
        occurred_at, operation, table_name, bot_id, first_key, last_key, is_block, row_count,
        row_keys, old_values, new_values)
    select v_at, {operation}, {table}, p.audit_bot, min(p.audit_key), max(p.audit_key), true,
        count(*), json_build_object({row_keys}),
        ('{' || substr(concat({rows_o}), 2) || '}')::json,
        ('{' || substr(concat({rows_n}), 2) || '}')::json
    from (
        select p.*, (row_number() over () - 1) / 4096 as audit_block
        from ($source$ || pair || pairs || $source$
        where {differs}
    ) as p
    group by p.audit_block, p.audit_bot;$source$,
    audit.update_parts(p_table, p_policy) || audit.update_sides(p_table, p_policy))
from template
$func$;

comment on function audit.update_source(regclass, text) is
    'Body of the function that records UPDATE on a table: changed columns only; rows that stayed the
same, or changed in derived columns only, are left out.';

create function audit.capture_source(p_table regclass, p_operation text, p_policy text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select case
           when p_policy = 'off' then e'\nbegin\n    return null;  -- see audit.capture\nend\n'
           when p_operation = 'UPDATE' then audit.update_source(p_table, p_policy)
           else audit.row_source(p_table, p_operation, p_policy)
       end
$func$;

comment on function audit.capture_source(regclass, text, text) is
    'Body that the function for INSERT, UPDATE or DELETE on a table must have under a policy.';

create function audit.capture_name(p_table regclass, p_operation text)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select format('audit.%I', lower(p_operation) || '_of_' || n.nspname || '_' || c.relname)
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where c.oid = p_table
$func$;

comment on function audit.capture_name(regclass, text) is
    'Quoted name of the function that records INSERT, UPDATE or DELETE on a table.';

create function audit.stale_captures()
returns table (relation regclass, operation text)
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select c.relation, o.operation
from audit.capture as c
join pg_class as t on t.oid = c.relation  -- a table may have been dropped since
cross join unnest(array['INSERT', 'UPDATE', 'DELETE']) as o (operation)
left join pg_proc as p on p.oid = to_regproc(audit.capture_name(c.relation, o.operation))
where p.prosrc is distinct from audit.capture_source(c.relation, o.operation, c.policy)
order by c.relation::text, o.operation
$func$;

comment on function audit.stale_captures() is
    'The tables whose columns, marks or policy are not those that their functions record: call
audit.refresh().';

create function audit.require_auditable(p_table regclass)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_fault  text := (
        select case
                   when c.relkind not in ('r', 'p') or c.relispartition
                       then 'is no table, or a partition of one'
                   when audit.key_sql(p_table) is null then 'has no primary key'
                   when c.relnatts > 49 then 'has more than 49 columns'
                   when length(n.nspname || c.relname) > 51 then 'has too long a name'
                   when exists (
                       select from pg_attribute as a
                       where a.attrelid = p_table and a.attname in ('audit_row', 'audit_block'))
                       then 'has a column named audit_row or audit_block'
               end
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where c.oid = p_table);
begin
    if p_table is null or v_fault is not null then
        raise exception using
            errcode = 'MB201',
            message = format('table %s can''t be audited: it %s', coalesce(p_table::text, 'null'),
                             coalesce(v_fault, 'is not there')),
            hint    = 'Name a table with a primary key, at most 49 columns, and at most 51 '
                      'characters in its name and its schema''s.';
    end if;
end
$func$;

comment on function audit.require_auditable(regclass) is 'MB201 unless the table can be audited.';

create function audit.compile(p_table regclass, p_policy text)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_operation  text;
begin
    perform audit.require_auditable(p_table);
    if p_policy is null or p_policy not in ('changed', 'keys', 'off') then
        raise exception using
            errcode = 'MB205',
            message = format('there is no audit policy %s', quote_nullable(p_policy)),
            hint    = 'Pass changed, or keys.';
    end if;
    foreach v_operation in array array['INSERT', 'UPDATE', 'DELETE'] loop
        execute format(
            'create or replace function %s() returns trigger language plpgsql security definer '
            'set search_path = pg_catalog, pg_temp set row_security = on set work_mem = ''64MB'' '
            'set datestyle = ''ISO, MDY'' set jit = off as %L',
            audit.capture_name(p_table, v_operation),
            audit.capture_source(p_table, v_operation, p_policy));
        execute format('comment on function %s() is %L', audit.capture_name(p_table, v_operation),
            format('Trigger on %s; generated by audit.compile, policy %s.', p_table, p_policy));
        execute format('revoke execute on function %s() from public',
                       audit.capture_name(p_table, v_operation));
        execute format('grant execute on function %s() to app_owner, app_provisioner',
                       audit.capture_name(p_table, v_operation));
    end loop;
    insert into audit.capture (relation, policy) values (p_table, p_policy)
    on conflict (relation) do update set policy = excluded.policy;
    perform audit.note_capture(jsonb_build_object('table', p_table::text, 'policy', p_policy));
end
$func$;

comment on function audit.compile(regclass, text) is
    'Generates the functions that record a table''s changes under a policy, anew if they are there.
MB201, MB205.';

create function audit.note_capture(p_detail jsonb)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    -- what the migration itself sets up is where the log begins
    if exists (select from audit.seal where seal_id > 0)
       or exists (select from audit.security_audit_log) then
        perform audit.record_event('capture', 'notice', p_detail);
    end if;
end
$func$;

comment on function audit.note_capture(jsonb) is
    'Puts a change of what is captured on record; audit.verify_seals names those without an entry.';

create function audit.attach(p_table regclass)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_operation  text;
    v_trigger    text;
begin
    foreach v_operation in array array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] loop
        v_trigger := 'audit_' || lower(v_operation);
        execute format(
            'create or replace trigger %I after %s on %s %s for each statement %s '
            'execute function %s()',
            v_trigger, v_operation, p_table,
            case v_operation
                when 'INSERT' then 'referencing new table as new_rows'
                when 'UPDATE' then 'referencing old table as old_rows new table as new_rows'
                when 'DELETE' then 'referencing old table as old_rows'
                else '' end,
            -- which writes derived columns, and nothing else
            case when v_operation = 'UPDATE' and audit.has_derived(p_table)
                 then 'when (current_user <> ''app_upkeep'')' else '' end,
            case v_operation when 'TRUNCATE' then 'audit.record_truncate'
                 else audit.capture_name(p_table, v_operation) end);
        execute format('alter table %s enable always trigger %I', p_table, v_trigger);
    end loop;
    if exists (select from pg_partitioned_table where partrelid = p_table) then
        perform audit.guard_leaf(l.leaf) from core.leaves(p_table) as l;
    end if;
end
$func$;

comment on function audit.attach(regclass) is
    'Gives a table the triggers that record its changes, in replica mode too, and its leaves the
guard against writes past them; for the table''s owner.';

create function audit.has_derived(p_table regclass)
returns boolean
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select exists (select from audit.marked_column where relation = p_table and mark = 'derived')
$func$;

comment on function audit.has_derived(regclass) is
    'Whether a table has columns that triggers keep from other rows.';

create function audit.record_truncate()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_at  timestamptz := clock_timestamp();
begin
    perform audit.ensure_month(v_at);
    insert into audit.security_audit_log (occurred_at, operation, table_name)
    values (v_at, 'TRUNCATE', tg_relid::regclass::text);
    return null;
end
$func$;

comment on function audit.record_truncate() is
    'Trigger: TRUNCATE is on record, if without the rows. The tables of core refuse it.';

create function audit.enable(p_table regclass, p_policy text default 'changed')
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform audit.compile(p_table, case when p_policy = 'off' then 'none' else p_policy end);
    if not exists (
        select from pg_trigger where tgrelid = p_table and tgname = 'audit_insert') then
        perform audit.attach(p_table);
    end if;
end
$func$;

comment on function audit.enable(regclass, text) is
    'Records every change of a table from now on: policy changed, or keys (what a row holds now is
kept as a digest). The first time only the table''s owner can call it (42501 else). MB201: the
table can''t be audited; MB205: no such policy.';

create function audit.refresh(p_table regclass default null)
returns setof regclass
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_table  regclass;
begin
    for v_table in
        select distinct relation
        from audit.stale_captures()
        where p_table is null or relation = p_table
    loop
        perform audit.compile(v_table, c.policy) from audit.capture as c where relation = v_table;
        return next v_table;
    end loop;
end
$func$;

comment on function audit.refresh(regclass) is
    'Call it after ALTER TABLE: what is recorded follows the columns that are there now. Returns the
tables that it was needed for.';

create function audit.disable(p_table regclass)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    if not exists (select from audit.capture where relation = p_table) then
        raise exception using
            errcode = 'MB208',
            message = format('table %s is not audited', coalesce(p_table::text, 'null')),
            hint    = 'select * from audit.capture lists those that are.';
    end if;
    perform audit.compile(p_table, 'off');
end
$func$;

comment on function audit.disable(regclass) is
    'Records nothing of a table any more, but this. The triggers stay; audit.enable undoes it.
MB208: it was never audited.';

create function audit.mark_column(p_table regclass, p_column name, p_mark text)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    insert into audit.marked_column (relation, column_name, mark)
    values (p_table, p_column, p_mark)
    on conflict (relation, column_name) do update set mark = excluded.mark;
    perform audit.note_capture(jsonb_build_object(
        'table', p_table::text, 'column', p_column, 'mark', p_mark));
    perform audit.refresh(p_table);
end
$func$;

comment on function audit.mark_column(regclass, name, text) is
    'Keeps a column out of the log from now on (secret: a salted digest shows that it changed), or
its changes (derived). What is logged already stays.';

-- Reading ---------------------------------------------------------------------

create function audit.block_rows(p_row_keys json, p_old_values json, p_new_values json)
returns table (place bigint, row_key jsonb, old_values jsonb, new_values jsonb)
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $func$
with key as (
    select v.place, jsonb_object_agg(c.key, v.value::jsonb) as row_key
    from json_each(p_row_keys) as c
    cross join lateral json_array_elements(c.value) with ordinality as v (value, place)
    group by v.place
), old as (
    select c.key as name, v.place, v.value::text
    from json_each(p_old_values) as c
    cross join lateral json_array_elements(c.value) with ordinality as v (value, place)
), new as (
    select c.key as name, v.place, v.value::text
    from json_each(p_new_values) as c
    cross join lateral json_array_elements(c.value) with ordinality as v (value, place)
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
    'The rows of a block: (place in it, row_key, old_values, new_values).';

create view audit.events
with (security_invoker = true)
as
select l.occurred_at, l.operation, l.table_name, l.bot_id, r.row_key,
       case l.operation when 'DELETE' then r.row_key || r.old_values else r.old_values end
           as old_values,
       case l.operation when 'INSERT' then r.row_key || r.new_values else r.new_values end
           as new_values,
       l.kind, l.severity, l.login, l.role, l.actor, l.correlation_id, l.transaction_id,
       l.client_address, l.application_name, l.entry_id, r.place, l.is_block, l.first_key,
       l.last_key
from (
    select e.*, case when e.bot_id is null then '{}'
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
entries that are theirs to read.';
comment on column audit.events.row_key is 'The row''s primary key.';
comment on column audit.events.place is 'Which row of its entry.';

create function audit.row_history(p_table regclass, p_key jsonb)
returns setof audit.events
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_bot_id  bigint := (p_key ->> 'bot_id')::bigint;
    v_number  bigint;
begin
    perform audit.require_auditable(p_table);
    if v_bot_id is null then
        v_bot_id := core.current_bot_id();
    end if;
    execute format('select %s from jsonb_populate_record(null::%s, $1) as r',
                   audit.key_sql(p_table), p_table)
    into v_number using p_key;
    -- entries of one row by their key, blocks by the keys they reach over
    return query execute format($query$
        select * from audit.events
        where %1$s and table_name = $2 and not is_block and first_key = $3 and row_key @> $4
        union all
        select * from audit.events
        where %1$s and table_name = $2 and is_block and first_key <= $3 and last_key >= $3
          and row_key @> $4
        order by entry_id, place$query$,
        case when v_bot_id is null then 'bot_id is null' else 'bot_id = $1' end)
    using v_bot_id, p_table::text, v_number, p_key;
end
$func$;

comment on function audit.row_history(regclass, jsonb) is
    'What happened to one row, first to last: audit.row_history(''core.messages'', ''{"bot_id": 7,
"message_id": 12}''). The key''s last column must be there; a bot leaves bot_id out. MB201.';

create function audit.by_correlation(p_correlation_id uuid)
returns setof audit.events
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select * from audit.events where correlation_id = p_correlation_id order by entry_id, place
$func$;

comment on function audit.by_correlation(uuid) is
    'All that was changed under one correlation id (app.correlation_id), or by one transaction.';

-- Seals -----------------------------------------------------------------------

create table audit.seal (
    seal_id           bigint          not null,
    sealed_at         timestamptz     not null,
    entries           int8multirange  not null,
    entry_count       integer         not null,
    row_count         bigint          not null,
    last_entry        bigint          not null,
    gaps              int8multirange  not null,
    xid_max           bigint          not null,
    complete_at       timestamptz     not null,
    complete_xid_min  bigint          not null,
    complete_xid_max  bigint          not null,
    cluster           text            not null,
    machinery         bytea           not null,
    leaves            bytea           not null,
    salts             bytea           not null,
    root              bytea           not null,

    constraint seal_pk primary key (seal_id)
);

alter table audit.seal alter leaves set storage external, alter salts set storage external;

comment on table audit.seal is
    'A chain: each row holds a digest of every entry it seals, and a root over these and the root
before. Whoever keeps a root elsewhere can prove that nothing it covers has changed since.';
comment on column audit.seal.entries is 'entry_id of what is sealed here.';
comment on column audit.seal.entry_count is 'How many these are.';
comment on column audit.seal.row_count is 'How many changed rows they hold.';
comment on column audit.seal.last_entry is
    'All entries up to this one are sealed, here or before, or are among the gaps.';
comment on column audit.seal.gaps is
    'Of them, those that were not there yet: of transactions that were not finished, or that were
rolled back.';
comment on column audit.seal.xid_max is 'No transaction had this id when the seal was made.';
comment on column audit.seal.complete_at is
    'When a seal was last made that left nothing out for its limit: this one, or one before.';
comment on column audit.seal.complete_xid_min is
    'At complete_at all transactions before this one were finished.';
comment on column audit.seal.complete_xid_max is
    'At complete_at no transaction had this id.';
comment on column audit.seal.cluster is
    'Which cluster and database counted the transactions: a restored copy counts anew.';
comment on column audit.seal.machinery is 'Digest of audit.machinery(): what captures, as it was.';
comment on column audit.seal.leaves is '32 bytes for each entry, in order: sha256(salt, entry).';
comment on column audit.seal.salts is
    '16 random bytes for each entry. audit.erase replaces them: what was erased can''t be guessed.';
comment on column audit.seal.root is
    'sha256 over all of the above but the salts, and the root before.';

create view audit.sealable
with (security_invoker = true)
as
select entry_id, row_count, convert_to(row(
           entry_id, transaction_id, to_json(occurred_at at time zone 'UTC'), bot_id, first_key,
           last_key, correlation_id, row_count, is_block, operation, table_name, kind, severity,
           login, role, actor, client_address, application_name, row_keys, old_values,
           new_values)::text, 'UTF8') as octets
from audit.security_audit_log;

comment on view audit.sealable is
    'Each entry as the octets that its leaf is a digest of: sha256(salt || octets). The same on
every server, under any setting. A view, since a call for each entry would be most of a seal.';

create function audit.cluster()
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select format('%s/%s', c.system_identifier, d.oid)
from pg_control_system() as c
join pg_database as d on d.datname = current_database()
$func$;

comment on function audit.cluster() is
    'This cluster and database, by numbers that a copy does not share.';

create function audit.machinery()
returns bytea
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
-- xmin: what was made anew, or off and on again in the meantime, is another row
with part (line) as (
    select concat_ws('|', 'trigger', t.tgrelid::regclass, t.tgname, t.tgenabled, t.tgtype,
                     pg_get_expr(t.tgqual, t.tgrelid), t.tgfoid::regprocedure, t.xmin)
    from pg_trigger as t
    join pg_class as c on c.oid = t.tgrelid
    join pg_proc as p on p.oid = t.tgfoid
    where not t.tgisinternal
      and (p.pronamespace = 'audit'::regnamespace
           or c.relnamespace::regnamespace::text in ('audit', 'audit_partitions'))
    union all
    select concat_ws('|', 'function', p.oid::regprocedure, p.prosecdef, p.proowner::regrole,
                     p.proconfig, p.prosrc, p.xmin)
    from pg_proc as p
    where p.pronamespace = 'audit'::regnamespace
    union all
    select concat_ws('|', 'rule', w.ev_class::regclass, w.rulename, w.ev_enabled, w.xmin)
    from pg_rewrite as w
    join pg_class as c on c.oid = w.ev_class
    where c.relnamespace = 'audit'::regnamespace
    union all
    select concat_ws('|', 'default', d.adnum, pg_get_expr(d.adbin, d.adrelid), d.xmin)
    from pg_attrdef as d
    where d.adrelid = 'audit.security_audit_log'::regclass
    union all
    select concat_ws('|', 'policy', p.polname, p.polcmd, p.polroles::regrole[],
                     pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid),
                     p.xmin)
    from pg_policy as p
    where p.polrelid = 'audit.security_audit_log'::regclass
)
select sha256(convert_to(coalesce(string_agg(line, e'\n' order by line collate "C"), ''), 'UTF8'))
from part
$func$;

comment on function audit.machinery() is
    'Digest of what captures, guards and keeps the log (triggers, functions, rules, defaults,
policies), and of when each was last touched.';

create function audit.seal_root(p_seal audit.seal, p_previous bytea)
returns bytea
language sql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
as $func$
select sha256(p_previous || convert_to(row(
    p_seal.seal_id, p_seal.sealed_at, p_seal.entries, p_seal.entry_count, p_seal.row_count,
    p_seal.last_entry, p_seal.gaps, p_seal.xid_max, p_seal.complete_at, p_seal.complete_xid_min,
    p_seal.complete_xid_max, p_seal.cluster, encode(p_seal.machinery, 'hex'),
    encode(sha256(p_seal.leaves), 'hex'))::text, 'UTF8'))
$func$;

comment on function audit.seal_root(audit.seal, bytea) is
    'The root of a seal, from its row and the root before it.';

create function audit.collect_entries(p_previous audit.seal, p_limit integer)
returns table (entries int8multirange, entry_count integer, row_count bigint, last_entry bigint,
               is_complete boolean, snapshot pg_snapshot, leaves bytea, salts bytea)
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
-- one statement, one snapshot: what it does not see is not finished, or was rolled back
with seed as materialized (  -- kept nowhere: a salt that is destroyed can't be made again
    select uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) as octets
), chosen as materialized (
    select t.entry_id, t.row_count, x.salt, sha256(x.salt || t.octets) as leaf
    from (
        (select * from audit.sealable
         where entry_id > p_previous.last_entry order by entry_id limit p_limit)
        union all
        select s.*
        from unnest(p_previous.gaps) as g
        join audit.sealable as s on s.entry_id >= lower(g) and s.entry_id < upper(g)
    ) as t
    cross join seed
    cross join lateral (
        select substr(sha256(seed.octets || int8send(t.entry_id)), 1, 16) offset 0
    ) as x (salt)
), island as (
    select int8range(min(entry_id), max(entry_id), '[]') as entries
    from (select entry_id, entry_id - row_number() over (order by entry_id) as gap from chosen) as i
    group by gap
)
select coalesce((select range_agg(i.entries) from island as i), '{}'), count(*)::integer,
       coalesce(sum(row_count), 0)::bigint, greatest(max(entry_id), p_previous.last_entry),
       coalesce((select max(entry_id) from audit.security_audit_log) = max(entry_id), true),
       pg_current_snapshot(),
       coalesce(string_agg(leaf, '' order by entry_id), ''),
       coalesce(string_agg(salt, '' order by entry_id), '')
from chosen
$func$;

comment on function audit.collect_entries(audit.seal, integer) is
    'What a next seal is to cover, how the transactions stood then, and whether nothing was left out
for p_limit.';

create function audit.next_seal(p_previous audit.seal, p_limit integer, p_at timestamptz)
returns audit.seal
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
select n.*, audit.seal_root(row(n.*, ''::bytea)::audit.seal, p_previous.root)
from (
    select p_previous.seal_id + 1, p_at, c.entries, c.entry_count, c.row_count, c.last_entry,
           int8multirange(int8range(p_previous.last_entry, c.last_entry, '(]')) - c.entries
           -- whoever had drawn an entry_id by then may still be at work
           + case when x.is_same and x.xid_min < p_previous.xid_max
                  then p_previous.gaps - c.entries else '{}' end,
           x.xid_max,
           case when c.is_complete then p_at else p_previous.complete_at end,
           case when c.is_complete then x.xid_min else p_previous.complete_xid_min end,
           case when c.is_complete then x.xid_max else p_previous.complete_xid_max end,
           audit.cluster(), audit.machinery(), c.leaves, c.salts
    from audit.collect_entries(p_previous, p_limit) as c
    cross join lateral (
        select pg_snapshot_xmin(c.snapshot)::text::bigint,
               pg_snapshot_xmax(c.snapshot)::text::bigint, audit.cluster() = p_previous.cluster
    ) as x (xid_min, xid_max, is_same)
    offset 0
) as n
$func$;

comment on function audit.next_seal(audit.seal, integer, timestamptz) is
    'The seal that follows one, for p_limit entries at most; p_at is a time before the call.';

create function audit.seal(p_limit integer default 50000)
returns table (seal_id bigint, entry_count integer, row_count bigint, root text)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_previous  audit.seal;
    v_seal      audit.seal;
begin
    -- one at a time, and no erasure meanwhile; nobody who writes waits for it
    lock table audit.seal in share row exclusive mode;
    select * into v_previous from audit.seal as s order by s.seal_id desc limit 1;
    select * into v_seal from audit.next_seal(v_previous, p_limit, clock_timestamp());
    if v_seal.entry_count = 0 and v_seal.cluster = v_previous.cluster
       and v_seal.machinery = v_previous.machinery then
        return query select v_previous.seal_id, 0, 0::bigint, encode(v_previous.root, 'hex');
        return;
    end if;
    insert into audit.seal select v_seal.*;
    raise log 'audit: seal % of database %, root %',
        v_seal.seal_id, current_database(), encode(v_seal.root, 'hex');
    return query select v_seal.seal_id, v_seal.entry_count, v_seal.row_count,
                        encode(v_seal.root, 'hex');
end
$func$;

comment on function audit.seal(integer) is
    'Seals up to p_limit finished entries: (seal_id, entry_count, row_count, root in hex, for
keeping elsewhere; the server log has it, too). entry_count 0: nothing was left to seal. Writers
don''t wait for it. Maintenance calls it.';

insert into audit.seal
select 0, s.at, '{}', 0, 0, 0, '{}', s.xid, s.at, s.xid, s.xid, audit.cluster(), '', '', '',
       sha256(uuid_send(gen_random_uuid()))
from (select clock_timestamp(), txid_current()) as s (at, xid);

-- Verification ----------------------------------------------------------------

create function audit.sealed_entries(p_seal audit.seal)
returns table (entry_id bigint, leaf bytea, salt bytea)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with bytes as (
    select p_seal.leaves || ''::bytea as leaves, p_seal.salts || ''::bytea as salts  -- read once
    offset 0
), entry as (
    select i as entry_id, row_number() over (order by i)::integer as place
    from unnest(p_seal.entries) as e
    cross join lateral generate_series(lower(e), upper(e) - 1) as i
)
select e.entry_id, substr(b.leaves, e.place * 32 - 31, 32), substr(b.salts, e.place * 16 - 15, 16)
from entry as e
cross join bytes as b
$func$;

comment on function audit.sealed_entries(audit.seal) is
    'What a seal says of each entry: (entry_id, leaf, salt).';

create function audit.erasures()
returns table (entry_id bigint, first_leaf bytea, last_leaf bytea, is_chain boolean)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with step as (
    select (e ->> 'entry_id')::bigint as entry_id, decode(e ->> 'was', 'hex') as was,
           decode(e ->> 'now', 'hex') as now, l.entry_id as place
    from audit.security_audit_log as l
    cross join lateral jsonb_array_elements(l.new_values::jsonb -> 'entries') as e
    where l.kind = 'erasure' and e ->> 'was' is not null
), linked as (
    select *, lag(now) over (partition by entry_id order by place) as before from step
)
select entry_id, (array_agg(was order by place))[1], (array_agg(now order by place desc))[1],
       bool_and(before is null or before = was)
from linked
group by entry_id
$func$;

comment on function audit.erasures() is
    'Sealed entries that were blanked since: (entry_id, leaf before the first time, leaf after the
last, whether each time begins where the one before ended).';

create function audit.expired()
returns table (entries int8multirange, dropped_at timestamptz)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select (new_values ->> 'entries')::int8multirange, occurred_at
from audit.security_audit_log
where kind = 'retention'
order by entry_id desc
limit 1
$func$;

comment on function audit.expired() is
    'All entries that audit.drop_expired has dropped so far, and when it last did; no row: none.';

create function audit.check_chain()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select s.seal_id, null::bigint,
       case when s.seal_id is distinct from coalesce(p.seal_id + 1, 0)
            then 'a seal before it is gone' else 'the seal was changed' end
from audit.seal as s
left join lateral (
    select b.seal_id, b.root from audit.seal as b
    where b.seal_id < s.seal_id order by b.seal_id desc limit 1
) as p on true
where s.seal_id is distinct from coalesce(p.seal_id + 1, 0)
   or p.seal_id is not null and s.root is distinct from audit.seal_root(s, p.root)
union all
select null, null, 'there is no seal, not even the first' where not exists (select from audit.seal)
$func$;

comment on function audit.check_chain() is
    'The part of audit.verify_seals about the seals themselves.';

create function audit.check_sealed()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select s.seal_id, e.entry_id,
       case when l.entry_id is null then 'deleted'
            when x.first_leaf is not null then 'changed, and not only by audit.erase'
            else 'changed, or there twice' end
from audit.seal as s
cross join lateral audit.sealed_entries(s) as e
left join audit.sealable as l on l.entry_id = e.entry_id
left join audit.erasures() as x on x.entry_id = e.entry_id
left join audit.expired() as r
    -- whoever claims a retention below the floor, or one to come, is not believed
    on r.entries @> e.entry_id and s.sealed_at < r.dropped_at - interval '30 days'
    and r.dropped_at <= clock_timestamp() + interval '5 s'
where case when l.entry_id is null then r.entries is null
           when x.first_leaf is null then sha256(e.salt || l.octets) <> e.leaf
           else not x.is_chain or x.first_leaf <> e.leaf
                or sha256(e.salt || l.octets) <> x.last_leaf end
$func$;

comment on function audit.check_sealed() is
    'The part of audit.verify_seals about entries that a seal covers.';

create function audit.sealed_before(p_at timestamptz)
returns int8multirange
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(range_agg(e), '{}')
from audit.seal as s
cross join lateral unnest(s.entries) as e
where s.sealed_at < p_at
$func$;

comment on function audit.sealed_before(timestamptz) is
    'entry_id of all that was sealed before a time.';

create function audit.check_unsealed()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select null::bigint, l.entry_id, 'inserted among what was sealed'
from (select * from audit.seal order by seal_id desc limit 1) as last
join audit.security_audit_log as l on l.entry_id <= last.last_entry
where not (select audit.sealed_before('infinity')) @> l.entry_id
  and not last.gaps @> l.entry_id
$func$;

comment on function audit.check_unsealed() is
    'The part of audit.verify_seals about entries that should be in a seal, and are in none.';

create function audit.unsealed_since()
returns timestamptz
language sql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select l.occurred_at
from (select * from audit.seal order by seal_id desc limit 1) as last
join audit.security_audit_log as l on l.entry_id > last.last_entry
order by l.entry_id
limit 1
$func$;

comment on function audit.unsealed_since() is
    'When the oldest entry was written that comes after the last seal; null if there is none. How
long the log has been without one.';

create function audit.check_times()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
-- a server's clock may be set back a little
select s.seal_id, l.entry_id,
       case when l.occurred_at > s.sealed_at + interval '5 s' then 'dated later than its seal'
            else 'back-dated' end
from audit.seal as s
join audit.seal as p on p.seal_id = s.seal_id - 1 and p.cluster = s.cluster
cross join lateral unnest(s.entries) as e
join audit.security_audit_log as l on l.entry_id >= lower(e) and l.entry_id < upper(e)
where s.seal_id > 1 and (
    l.occurred_at > s.sealed_at + interval '5 s'
    or l.transaction_id < p.complete_xid_min
    or l.transaction_id >= p.complete_xid_max
       and l.occurred_at < p.complete_at - interval '5 s')
$func$;

comment on function audit.check_times() is
    'The part of audit.verify_seals about times: an entry is from after the last seal, unless its
transaction was at work already.';

create function audit.check_machinery()
returns table (seal_id bigint, entry_id bigint, problem text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with state as (
    select seal_id, sealed_at, cluster, machinery, last_entry, gaps
    from audit.seal
    union all
    select null, clock_timestamp(), audit.cluster(), audit.machinery(), null, null
), step as (
    select s.*, lag(machinery) over by_time as old_machinery,
           lag(cluster) over by_time as old_place, lag(sealed_at) over by_time as since,
           lag(last_entry) over by_time as old_entry,
           lag(gaps) over by_time as old_gaps
    from state as s
    window by_time as (order by seal_id nulls last)
)
select s.seal_id, null::bigint,
       format('what captures was changed after %s, and no entry says so', s.since)
from step as s
where s.machinery <> s.old_machinery and s.old_machinery <> '' and s.cluster = s.old_place
  and not exists (
    select
    from audit.security_audit_log as l
    where l.kind in ('capture', 'retention')  -- a month that goes takes its triggers along
      and l.occurred_at <= s.sealed_at
      and (l.entry_id > s.old_entry or s.old_gaps @> l.entry_id))
  -- as long as the entries of that time are kept
  and not exists (select from audit.expired() as r where r.entries @> s.old_entry)
$func$;

comment on function audit.check_machinery() is
    'The part of audit.verify_seals about triggers and functions that were touched between two
seals, if only for a moment.';

create function audit.verify_seals(p_seal_id bigint default null, p_root text default null)
returns table (seal_id bigint, entry_id bigint, problem text)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
begin
    return query
        select * from audit.check_chain()
        union all
        select * from audit.check_sealed()
        union all
        select * from audit.check_unsealed()
        union all
        select * from audit.check_times()
        union all
        select * from audit.check_machinery();
    if not exists (
        select from audit.seal as s
        where s.seal_id = p_seal_id and encode(s.root, 'hex') = lower(p_root))
       and (p_seal_id is not null or p_root is not null) then
        return query select p_seal_id, null::bigint, 'the root kept elsewhere is not this one';
    end if;
end
$func$;

comment on function audit.verify_seals(bigint, text) is
    'What is wrong with the log, no row if nothing is: (seal_id, entry_id, problem), by the seals
and, if given, by one root that was kept elsewhere. Reads the whole log.';

-- The end of an entry ---------------------------------------------------------

create function audit.set_retention(p_days integer)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    if p_days is null or p_days not between 30 and 36500 then
        raise exception using
            errcode = 'MB206',
            message = format('the log can''t be kept for %s days', coalesce(p_days::text, 'null')),
            hint    = 'Pass 30 to 36500 days.';
    end if;
    perform audit.record_event('setting', 'warning', jsonb_build_object(
        'retention_days', p_days, 'was', (select retention_days from audit.setting)));
    update audit.setting set retention_days = p_days;
end
$func$;

comment on function audit.set_retention(integer) is
    'How many days a month of the log is kept after its end, at least 30. Logged. MB206.';

create function audit.months()
returns table (leaf regclass, ends_at timestamptz)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select leaf, substring(bound from 'TO \(''([^'']+)''\)')::timestamptz
from core.leaves('audit.security_audit_log')
$func$;

comment on function audit.months() is 'The months of the log: (leaf, when it ends).';

create function audit.expired_months()
returns table (leaf regclass, ends_at timestamptz, entries int8multirange)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_month    record;
    v_entries  int8multirange;
begin
    for v_month in
        select m.leaf, m.ends_at
        from audit.months() as m
        cross join audit.setting as s
        where m.ends_at < now() - make_interval(days => s.retention_days)
        order by m.ends_at
    loop
        execute format('select coalesce(range_agg(int8range(entry_id, entry_id, ''[]'')), ''{}'') '
                       'from %s', v_month.leaf) into v_entries;
        if audit.sealed_before(now() - interval '30 days') @> v_entries then
            return query select v_month.leaf, v_month.ends_at, v_entries;
        end if;
    end loop;
end
$func$;

comment on function audit.expired_months() is
    'The months whose time is over and that have been sealed for 30 days: (leaf, ends_at,
entries).';

create function audit.drop_expired()
returns table (month text, entry_count bigint)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set lock_timeout = '2s'
as $func$
declare
    v_month    record;
    v_entries  int8multirange := coalesce((select x.entries from audit.expired() as x), '{}');
begin
    lock table audit.seal in share row exclusive mode;
    for v_month in select * from audit.expired_months() loop
        month := v_month.leaf::text;
        select coalesce(sum(upper(e) - lower(e)), 0)::bigint into entry_count
        from unnest(v_month.entries) as e;
        v_entries := v_entries + v_month.entries;
        perform audit.record_event('retention', 'notice', jsonb_build_object(
            'month', month, 'entry_count', entry_count, 'entries', v_entries::text));
        execute format('drop table %s', v_month.leaf);
        return next;
    end loop;
end
$func$;

comment on function audit.drop_expired() is
    'Drops the months that audit.setting no longer keeps and that have been sealed, to the last
entry, for 30 days: (month, entry_count). Logged; the seals stay. Waits at most 2 s for writers.';

create function audit.person_ids(p_bot_id bigint, p_telegram_id bigint)
returns table (profile_ids bigint[], conversation_ids bigint[])
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
with profile as (
    select profile_id
    from core.girls_profiles
    where bot_id = p_bot_id and telegram_id = p_telegram_id
    union
    select (row_key ->> 'profile_id')::bigint
    from audit.events
    where bot_id = p_bot_id and table_name = 'core.girls_profiles'
      and p_telegram_id::text in (new_values ->> 'telegram_id', old_values ->> 'telegram_id')
), conversation as (
    select conversation_id
    from core.conversations
    where bot_id = p_bot_id and profile_id in (select profile_id from profile)
    union
    select (e.row_key ->> 'conversation_id')::bigint
    from audit.events as e
    join profile as p
        on p.profile_id::text in (e.new_values ->> 'profile_id', e.old_values ->> 'profile_id')
    where e.bot_id = p_bot_id and e.table_name = 'core.conversations'
)
select array(select profile_id from profile), array(select conversation_id from conversation)
$func$;

comment on function audit.person_ids(bigint, bigint) is
    'The contacts and conversations that a person is or was to a bot, by the tables and by the
log.';

create function audit.blank(p_values json, p_is_block boolean, p_hit boolean[])
returns json
language sql
immutable
set search_path = pg_catalog, pg_temp
as $func$
select json_object_agg(
    c.key,
    case when not p_is_block then '"[erased]"'::json
         else (select json_agg(case when p_hit[v.place] then '"[erased]"'::json else v.value end
                               order by v.place)
               from json_array_elements(c.value) with ordinality as v (value, place)) end)
from json_each(p_values) as c
$func$;

comment on function audit.blank(json, boolean, boolean[]) is
    'The values of an entry with those of the rows hit replaced by [erased].';

create function audit.hits(p_entry audit.security_audit_log, p_key text, p_ids bigint[])
returns boolean[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select case when p_entry.is_block
            then array(select (v.value #>> '{}')::bigint = any (p_ids)
                       from json_array_elements(p_entry.row_keys -> p_key)
                           with ordinality as v (value, place)
                       order by v.place)
            else array[(p_entry.row_keys ->> p_key)::bigint = any (p_ids)] end
$func$;

comment on function audit.hits(audit.security_audit_log, text, bigint[]) is
    'For each row of an entry, whether a column of its key is one of these ids.';

create function audit.person_entries(p_bot_id bigint, p_telegram_id bigint)
returns table (entry_id bigint, hit boolean[])
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select l.entry_id, h.hit
from audit.person_ids(p_bot_id, p_telegram_id) as p
cross join lateral (values
    ('core.girls_profiles', 'profile_id', p.profile_ids),
    ('core.conversations', 'conversation_id', p.conversation_ids),
    ('core.messages', 'conversation_id', p.conversation_ids)
) as t (table_name, key, ids)
join audit.security_audit_log as l on l.table_name = t.table_name and l.bot_id = p_bot_id
cross join lateral audit.hits(l, t.key, t.ids) as h (hit)
where true = any (h.hit)
$func$;

comment on function audit.person_entries(bigint, bigint) is
    'The entries that hold something of a person: (entry_id, hit: which of their rows).';

create function audit.renew_salts(p_entry_ids bigint[])
returns void
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
update audit.seal as s
set salts = (
    select string_agg(case when e.entry_id = any (p_entry_ids)
                           then uuid_send(gen_random_uuid()) else e.salt end, ''
                      order by e.entry_id)
    from audit.sealed_entries(s) as e)
where exists (select from unnest(p_entry_ids) as i where s.entries @> i)
$func$;

comment on function audit.renew_salts(bigint[]) is
    'Destroys the salts of entries: their old leaves no longer tell what they held.';

create function audit.leaves_of(p_entry_ids bigint[])
returns table (entry_id bigint, leaf bytea)
language sql
stable
set search_path = pg_catalog, pg_temp
as $func$
select l.entry_id, sha256(e.salt || l.octets)
from audit.sealable as l
left join (
    select e.entry_id, e.salt
    from audit.seal as s
    cross join lateral audit.sealed_entries(s) as e
    where exists (select from unnest(p_entry_ids) as i where s.entries @> i)
) as e using (entry_id)
where l.entry_id = any (p_entry_ids)
$func$;

comment on function audit.leaves_of(bigint[]) is
    'The leaves of entries as they are now; null for one that is not sealed.';

create function audit.blank_entries(p_bot_id bigint, p_telegram_id bigint)
returns table (entry_id bigint, row_count integer, was bytea)
language sql
volatile
set search_path = pg_catalog, pg_temp
as $func$
with person as materialized (
    select entry_id, hit from audit.person_entries(p_bot_id, p_telegram_id)
), was as materialized (  -- by the statement's snapshot: as it is before the update
    select entry_id, leaf from audit.leaves_of(array(select entry_id from person))
), blanked as (
    update audit.security_audit_log as l
    set old_values = audit.blank(l.old_values, l.is_block, p.hit),
        new_values = audit.blank(l.new_values, l.is_block, p.hit)
    from person as p
    where l.entry_id = p.entry_id
    returning l.entry_id, cardinality(array_positions(p.hit, true)) as hits
)
select b.entry_id, b.hits, w.leaf from blanked as b join was as w using (entry_id)
$func$;

comment on function audit.blank_entries(bigint, bigint) is
    'Blanks all values of a person''s rows; keys stay. Returns which entries, how many rows of each,
and the leaf that each had (null: not sealed).';

create function audit.erase(p_bot_id bigint, p_telegram_id bigint, p_reason text)
returns bigint
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_entries  bigint[];
    v_rows     bigint;
    v_was      jsonb;
begin
    lock table audit.seal in share row exclusive mode;  -- no entry gets its seal meanwhile
    perform set_config('audit.erasing', txid_current()::text, true);
    select array_agg(e.entry_id), sum(e.row_count),
           jsonb_object_agg(e.entry_id, encode(e.was, 'hex'))
    into v_entries, v_rows, v_was
    from audit.blank_entries(p_bot_id, p_telegram_id) as e;
    if v_entries is null or p_reason is null or p_reason !~ '\S' then
        raise exception using
            errcode = 'MB207',
            message = format('nothing to erase for bot %s and telegram_id %s',
                             quote_nullable(p_bot_id), quote_nullable(p_telegram_id)),
            detail  = case when v_entries is not null then 'No reason was given.'
                           else 'The log holds no entry of such a contact.' end,
            hint    = 'Check both numbers; p_reason says why, for the record.';
    end if;
    perform audit.renew_salts(v_entries);
    perform set_config('audit.erasing', '', true);
    perform audit.record_event('erasure', 'warning', (
        select jsonb_build_object('reason', p_reason, 'row_count', v_rows, 'entries', jsonb_agg(
            jsonb_build_object('entry_id', l.entry_id, 'was', v_was ->> l.entry_id::text,
                               'now', encode(l.leaf, 'hex'))))
        from audit.leaves_of(v_entries) as l), p_bot_id);
    return v_rows;
end
$func$;

comment on function audit.erase(bigint, bigint, text) is
    'Blanks in the log all that it holds of a person, by the bot and the telegram_id of the contact,
and returns how many rows that were. The log stays provable, the erasure is on record with its
reason. What the tables of core still hold is not touched: delete it first, its last values are
logged, and then erased. MB207: nothing to erase, or no reason.';

-- The log's own protection ----------------------------------------------------

insert into core.leaf_hook (hook) values ('audit.guard_leaf(regclass)');
insert into security.event_hook (hook) values ('audit.log_event(text, text, jsonb, bigint)');

do $protect$
declare
    v_table  regclass;
begin
    perform security.ensure_owner('app_auditor');
    perform security.protect('audit.security_audit_log');
    perform security.admit_bots('audit.security_audit_log');
    perform security.admit_admins('audit.security_audit_log');
    perform security.admit('audit.security_audit_log', r, 'select')
    from unnest(array['app_super_admin', 'app_backup', 'app_auditor']) as r;
    perform security.admit('audit.security_audit_log', 'app_auditor', c)
    from unnest(array['insert', 'update']) as c;
    perform security.admit(t, 'app_auditor', 'select')
    from unnest(array['core.girls_profiles', 'core.conversations']) as t;
    foreach v_table in array array['audit.security_audit_log', 'audit.seal']::regclass[] loop
        execute format('create trigger refuse_change before update or delete or truncate on %s '
                       'for each statement execute function audit.refuse_change()', v_table);
        execute format('alter table %s enable always trigger refuse_change', v_table);
    end loop;
end
$protect$;

-- Grants ----------------------------------------------------------------------

revoke execute on all functions in schema audit from public;

grant usage on schema audit
    to app_bot, app_backup, app_owner, app_upkeep, app_provisioner;
grant usage on schema audit_partitions to app_backup;
grant select on audit.security_audit_log, audit.events to app_bot, app_backup;
grant select on audit.capture, audit.marked_column, audit.setting to app_super_admin;
grant select on all tables in schema audit to app_backup;
grant execute on function
    audit.block_rows(json, json, json), audit.row_history(regclass, jsonb),
    audit.by_correlation(uuid), audit.require_auditable(regclass), audit.key_sql(regclass, text)
to app_bot, app_backup;
grant execute on function
    audit.enable(regclass, text), audit.compile(regclass, text), audit.refresh(regclass),
    audit.mark_column(regclass, name, text), audit.stale_captures(),
    audit.log_event(text, text, jsonb, bigint), audit.seal(integer),
    audit.verify_seals(bigint, text), audit.set_retention(integer), audit.drop_expired(),
    audit.erase(bigint, bigint, text)
to app_super_admin, app_owner;
grant execute on function audit.disable(regclass) to app_super_admin;
-- who owns an audited table attaches its triggers
grant execute on function
    audit.attach(regclass), audit.guard_leaf(regclass), audit.capture_name(regclass, text),
    audit.has_derived(regclass), audit.note_capture(jsonb),
    audit.record_truncate(), audit.refuse_leaf_write()
to app_owner, app_provisioner;
grant execute on function audit.log_event(text, text, jsonb, bigint) to app_provisioner;

grant usage on schema core, security to app_auditor;
grant select (bot_id, profile_id, telegram_id) on core.girls_profiles to app_auditor;
grant select (bot_id, conversation_id, profile_id) on core.conversations to app_auditor;
grant select on core.leaf_hook to app_auditor;
grant execute on function
    core.leaf_name(regclass, text), core.leaves(regclass), core.month_column(regclass),
    core.ensure_partition(regclass, timestamptz), core.equip_leaf(regclass), core.current_bot_id(),
    security.protect_leaf(regclass), security.refuse_truncate(regclass), security.refuse_write(),
    security.admit(regclass, text, text), security.set_policy(regclass, text, text),
    security.policy_bot_id(), security.policy_user()
to app_auditor;

-- Where it begins -------------------------------------------------------------

insert into audit.marked_column (relation, column_name, mark) values
    ('security.bot_token',  'token',           'secret'),
    ('core.conversations',  'message_count',   'derived'),
    ('core.conversations',  'last_message_at', 'derived'),
    ('core.conversations',  'started_at',      'derived'),
    ('core.conversations',  'updated_at',      'derived');

do $begin$
declare
    v_table  regclass;
begin
    perform core.ensure_partition('audit.security_audit_log', now() + n * interval '1 month')
    from generate_series(0, 2) as n;
    for v_table in select core.bot_tables() union all select 'security.bot_token' loop
        perform audit.enable(v_table, case when v_table = 'core.messages'::regclass then 'keys'
                                           else 'changed' end);
    end loop;
    perform security.hand_over(s, 'app_auditor')
    from unnest(array['audit_partitions', 'audit']) as s;
end
$begin$;
