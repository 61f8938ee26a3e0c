-- What later migrations do when roles change.

create table security.event_hook (
    hook  text  not null,

    constraint event_hook_pk primary key (hook)
);

comment on table security.event_hook is
    'Functions (kind text, severity text, detail jsonb, bot_id bigint) that are told what this
schema does with roles: a later migration that records it adds its own, and removes it again.';
comment on column security.event_hook.hook is
    'Signature; runs with the rights of the provisioner.';

create function security.run_event_hooks(p_kind text, p_detail jsonb, p_bot_id bigint default null)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_hook  regproc;
begin
    for v_hook in
        select core.routine_name(h.hook) from security.event_hook as h order by h.hook
    loop
        execute format('select %s($1, ''notice'', $2, $3)', v_hook)
        using p_kind, p_detail, p_bot_id;
    end loop;
end
$func$;

comment on function security.run_event_hooks(text, jsonb, bigint) is
    'Tells every security.event_hook what was done; fails if one of them does.';
