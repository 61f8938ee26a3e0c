-- Audit of a table: on, refreshed, off; columns marked.

create function audit.attach(p_table regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_operation  text;
    v_trigger    text;
begin
    perform audit.require_auditable(p_table);
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
            audit.capture_condition(p_table, v_operation),
            case v_operation when 'TRUNCATE' then 'audit.record_truncate'
                 else audit.capture_name(p_table, v_operation) end);
        execute format('alter table %s enable always trigger %I', p_table, v_trigger);
    end loop;
    if exists (select from pg_partitioned_table where partrelid = p_table) then
        perform audit.guard_leaf(l.leaf) from core.leaves(p_table) as l;
    end if;
    perform security.accept_facts(
        'audit.attach',
        array_agg(format('trigger audit_%s on %s', o, p_table))
        || format('trigger refuse_leaf_write on %s (each partition)', p_table))
    from unnest(array['insert', 'update', 'delete', 'truncate']) as o;
end
$func$;

comment on function audit.attach(regclass) is
    'Gives a table the triggers that record its changes, in replica mode too, and its leaves the
guard against writes past them; for the table''s owner.';

create function audit.capture_condition(p_table regclass, p_operation text)
returns text
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select case
           -- what a migration changes there, its acceptance says
           when p_table in (select relation from security.inventoried_table)
               then 'when (not security.in_migration())'
           else ''
       end
$func$;

comment on function audit.capture_condition(regclass, text) is
    'When the trigger that records an operation on a table does not have to fire.';

create function audit.forget(p_table regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_operation  text;
begin
    foreach v_operation in array array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'] loop
        execute format('drop trigger %I on %s', 'audit_' || lower(v_operation), p_table);
    end loop;
    foreach v_operation in array array['INSERT', 'UPDATE', 'DELETE'] loop
        execute format('drop function %s()', audit.capture_name(p_table, v_operation));
    end loop;
    delete from audit.marked_column where relation = p_table;
    delete from audit.capture where relation = p_table;
end
$func$;

comment on function audit.forget(regclass) is
    'For rollbacks, before a table of configuration is dropped: nothing of its capture stays.';

create function audit.record_truncate()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_at  timestamptz := clock_timestamp();
begin
    perform audit.ensure_month(v_at);
    insert into audit.security_audit_log (occurred_at, bot_id, operation, table_name)
    values (v_at, 0, 'TRUNCATE', tg_relid::regclass::text);
    return null;
end
$func$;

comment on function audit.record_truncate() is
    'Trigger: TRUNCATE is on record, if without the rows. The tables of core refuse it.';

create function audit.enable(p_table regclass, p_policy text default 'changed')
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    perform audit.require_auditable(p_table);
    if not exists (
        select from pg_trigger where tgrelid = p_table and tgname = 'audit_insert') then
        execute format('lock table %s in share row exclusive mode', p_table);  -- or 42501
    end if;
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
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_table  regclass;
begin
    for v_table in select distinct relation from audit.stale_captures(p_table) loop
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
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
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
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
begin
    perform audit.require_auditable(p_table);
    if p_mark is null or p_mark not in ('secret', 'derived') or not exists (
        select
        from audit.captured_columns(p_table) as c
        where c.name = p_column and not c.is_key and c.name <> 'bot_id') then
        raise exception using
            errcode = 'MB211',
            message = format('column %s of table %s can''t be marked %s', quote_nullable(p_column),
                             p_table, quote_nullable(p_mark)),
            detail  = 'What is in the primary key names a row in the log: it can''t be kept out.',
            hint    = 'Name a column that is there and not in the primary key; secret or derived.';
    end if;
    perform audit.require_owned(
        p_table, 'Have its owner mark the column, then call audit.enable.');
    insert into audit.marked_column (relation, column_name, mark)
    values (p_table, p_column, p_mark)
    on conflict (relation, column_name) do update set mark = excluded.mark;
    perform audit.note_capture(jsonb_build_object(
        'table', p_table::text, 'column', p_column, 'mark', p_mark));
    perform security.accept_facts('audit.mark_column', array[
        format('row %s, %s of audit.marked_column', p_table, p_column)]);
    perform audit.refresh(p_table);
end
$func$;

comment on function audit.mark_column(regclass, name, text) is
    'Keeps a column out of the log from now on (secret: a salted digest shows that it changed), or
its changes (derived). What is logged already stays. Of a table that is not audited yet for its
owner only. MB201, MB208, MB211: there is no such column, it is in the primary key, or the mark is
none.';
