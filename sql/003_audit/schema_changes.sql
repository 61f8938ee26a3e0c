-- Changes of the schema as they happen, where a superuser migrates.

create function audit.has_month(p_at timestamptz)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select exists (
    select
    from core.leaves('audit.security_audit_log')
    where leaf = to_regclass(core.leaf_name('audit.security_audit_log', to_char(
        p_at at time zone 'UTC', '"y"YYYY"m"MM'))))
$func$;

comment on function audit.has_month(timestamptz) is
    'Whether the month of the log that this time is in is there, and not detached.';

create function audit.record_schema_change()
returns event_trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_objects  text[];
begin
    if tg_event = 'sql_drop' then
        select array_agg(distinct format('%s %s', object_type, object_identity)) into v_objects
        from pg_event_trigger_dropped_objects()
        where original and not is_temporary and object_identity !~ e'^audit_partitions\\M';
    else
        select array_agg(distinct concat_ws(' ', object_type, object_identity)) into v_objects
        from pg_event_trigger_ddl_commands()
        where not in_extension
          -- a session's own; and a month, which the seals watch: it may be in the making
          and coalesce(schema_name not in ('pg_temp', 'audit_partitions'), true)
          -- what has no schema, as a policy, ends with its table's; a quoted name may hold anything
          and coalesce(
              object_identity !~ ' on (pg_temp|audit_partitions)[.][^" ]+$', true);
    end if;
    if v_objects is null
       or not exists (select from security.accepted_fact)  -- nothing is: a first acceptance is due
       or security.in_migration() then  -- its acceptance says more: what was, and what is
        return;
    end if;
    if v_objects = array['table audit.security_audit_log'] and not audit.has_month(now()) then
        return;  -- it was detached: no entry has a place
    end if;
    perform audit.record_event('schema_changed', 'notice', jsonb_build_object(
        'command', tg_tag, 'object_count', cardinality(v_objects), 'objects', v_objects[:20]));
end
$func$;

comment on function audit.record_schema_change() is
    'Event trigger: every command that makes, changes or drops an object goes on record, as the
event schema_changed: {command: its tag, object_count, objects: type and name of up to 20}. Not its
text, which may hold a secret. Of a GRANT the server tells the kind of object only.';

do $event$
begin
    create event trigger record_schema_change on ddl_command_end
        execute function audit.record_schema_change();
    create event trigger record_schema_drop on sql_drop
        execute function audit.record_schema_change();
    alter event trigger record_schema_change enable always;  -- in replica mode too
    alter event trigger record_schema_drop enable always;
exception
    when insufficient_privilege then
        raise notice 'changes of the schema go on record as they are accepted, not as they happen: '
                     'only a superuser''s migration makes event triggers';
end
$event$;

-- The same to us whether a superuser migrated or not.
insert into security.rule_exception (rule, object, reason)
select 'superuser''s grant',
       format('event trigger %s: on %s calls audit.record_schema_change() enabled A', name, event),
       'it puts on record who changed the schema, as it happens'
from (values ('record_schema_change', 'ddl_command_end'), ('record_schema_drop', 'sql_drop'))
     as t (name, event);
