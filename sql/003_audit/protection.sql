-- The log's own protection.

insert into core.leaf_hook (hook) values ('audit.guard_leaf(regclass)');
insert into security.event_hook (hook) values ('audit.hear_event(text, text, jsonb, bigint)');
-- a migration that adds a column need not know of the audit
insert into security.acceptance_hook (hook) values ('audit.refresh(regclass)');

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
