-- 003_audit: is every change recorded, and nobody able to alter the record? Reads only; one row per
-- check. What is recorded is another question: audit.verify_seals().

set local search_path = pg_catalog, pg_temp;
set local quote_all_identifiers = off;
set local jit = off;

with audited as (
    select relation from core.bot_table where is_audited
), leaf as (
    select l.leaf
    from (select relation from audited union all select 'audit.security_audit_log') as a
    cross join lateral (
        select inhrelid::regclass as leaf from pg_inherits where inhparent = a.relation) as l
), result (place, check_name, offenders) as (
    select 1, 'every table of the bots is recorded, and so are their tokens', (
        select string_agg(format('%s: select audit.enable(%1$L)', a.relation), ', ')
        from audited as a
        left join audit.capture as c using (relation)
        where coalesce(c.policy, 'off') = 'off')
    union all
    select 1, 'every table of configuration is recorded', (
        select string_agg(format('%s: select audit.enable(%1$L)', a.relation), ', ')
        from security.inventoried_table as a
        join pg_class as t on t.oid = a.relation
            and t.relnamespace <> to_regnamespace('audit')  -- events tell what changes there
        left join audit.capture as c using (relation)
        where coalesce(c.policy, 'off') = 'off')
    union all
    select 2, 'what is recorded are the columns that are there', (
        select string_agg(format('%s of %s', operation, relation), ', ')
        from audit.stale_captures())
    union all
    select 3, 'every recorded table has its four triggers, in replica mode too', (
        select string_agg(format('%s on %s', e.tgname, c.relation), ', ')
        from audit.capture as c
        join pg_class as k on k.oid = c.relation  -- a table may have been dropped since
        -- after, for the statement: 4 insert, 8 delete, 16 update, 32 truncate
        cross join (values ('audit_insert', 4, 'INSERT'), ('audit_delete', 8, 'DELETE'),
                           ('audit_update', 16, 'UPDATE'), ('audit_truncate', 32, '')
        ) as e (tgname, tgtype, operation)
        where not exists (
            select
            from pg_trigger as t
            where t.tgrelid = c.relation and t.tgname = e.tgname and t.tgtype = e.tgtype
              and t.tgenabled = 'A' and t.tgattr::text = ''
              and t.tgfoid = coalesce(to_regproc(audit.capture_name(c.relation, e.operation)),
                                      'audit.record_truncate'::regproc)
              and coalesce(substring(pg_get_triggerdef(t.oid)
                                     from e' WHEN \\((.*)\\) EXECUTE '), '')
                  = case audit.capture_condition(c.relation, e.operation)
                        when 'when (not security.in_migration())' then
                            '(NOT security.in_migration())'
                        when 'when (current_user <> ''app_upkeep'')' then
                            '(CURRENT_USER <> ''app_upkeep''::name)'
                        else '' end))
    union all
    select 4, 'a write that names a leaf is refused', (
        select string_agg(l.leaf::text, ', ')
        from leaf as l
        -- before, for the statement: insert, update or delete
        where not exists (
            select
            from pg_trigger as t
            where t.tgrelid = l.leaf and t.tgname = 'refuse_leaf_write' and t.tgtype = 30
              and t.tgenabled = 'A' and t.tgqual is null
              and t.tgfoid = to_regprocedure('audit.refuse_leaf_write()')))
    union all
    select 5, 'the log and its seals refuse every change', (
        select string_agg(e.relation, ', ')
        from (values ('audit.security_audit_log'), ('audit.seal')) as e (relation)
        -- before, for the statement: update, delete or truncate
        where not exists (
            select
            from pg_trigger as t
            where t.tgrelid = to_regclass(e.relation) and t.tgname = 'refuse_change'
              and t.tgtype = 58 and t.tgenabled = 'A' and t.tgqual is null and t.tgattr::text = ''
              and t.tgfoid = to_regprocedure('audit.refuse_change()')))
    union all
    select 6, 'the log lets in who belongs there', (
        select string_agg(format('%s on %s', e.policy, e.relation), ', ')
        from (values
            ('audit.security_audit_log', 'own_rows'),
            ('audit.security_audit_log', 'app_admin_select'),
            ('audit.security_audit_log', 'app_super_admin_select'),
            ('audit.security_audit_log', 'app_backup_select'),
            ('audit.security_audit_log', 'app_auditor_select'),
            ('audit.security_audit_log', 'app_auditor_insert'),
            ('audit.security_audit_log', 'app_auditor_update'),
            ('audit.security_audit_log', 'provisioner_select'),
            ('core.girls_profiles', 'app_auditor_select'),
            ('core.conversations', 'app_auditor_select')
        ) as e (relation, policy)
        where not exists (
            select from pg_policy
            where polrelid = to_regclass(e.relation) and polname = e.policy))
    union all
    select 7, 'app_auditor owns the log''s two schemas', (
        select string_agg(format('%s: %s', n.nspname, r.rolname), ', ')
        from pg_namespace as n
        join pg_roles as r on r.oid = n.nspowner
        where n.nspname in ('audit', 'audit_partitions') and r.rolname <> 'app_auditor')
    union all
    select 8, 'nobody has a right on the log but to read it', (
        select string_agg(format('%s on %s to %s', g.privilege_type, c.oid::regclass,
                                 g.grantee::regrole), ', ')
        from pg_class as c
        cross join lateral (
            select * from aclexplode(c.relacl)
            union all
            select x.* from pg_attribute as a cross join lateral aclexplode(a.attacl) as x
            where a.attrelid = c.oid) as g
        where c.relnamespace in (to_regnamespace('audit'), to_regnamespace('audit_partitions'))
          and g.grantee <> c.relowner
          and not (g.privilege_type = 'SELECT' and (
              g.grantee in (to_regrole('app_backup'), to_regrole(security.provisioner()::text))
              or g.grantee = to_regrole('app_bot')
                 and c.relname in ('security_audit_log', 'events')
              or g.grantee = to_regrole('app_super_admin')
                 and c.relname in ('capture', 'marked_column', 'setting'))))
    union all
    select 9, 'bots call what reads the log, nobody but a super_admin what ends the recording', (
        select string_agg(format('%s for %s', f.name, r.role), ', ')
        from unnest(array['block_rows', 'row_history', 'by_correlation', 'require_auditable',
                          'key_sql']) as f (name)
        cross join unnest(array['app_bot', 'app_admin', 'app_backup']) as r (role)
        where not exists (
            select from pg_proc
            where pronamespace = to_regnamespace('audit') and proname = f.name
              and has_function_privilege(r.role, oid, 'execute'))
        having count(*) > 0
        union all
        select string_agg('disable for ' || r.role, ', ')
        from unnest(array['app_base', 'app_bot', 'app_admin', 'app_backup', 'app_owner'])
            as r (role)
        where has_function_privilege(r.role, 'audit.disable(regclass)', 'execute')
        having count(*) > 0
        limit 1)
    union all
    select 10, 'this month and the next are there', (
        select string_agg(m, ', ')
        from generate_series(0, 1) as n
        cross join lateral (
            select core.leaf_name('audit.security_audit_log', to_char(
                (now() + n * interval '1 month') at time zone 'UTC', '"y"YYYY"m"MM'))
        ) as e (m)
        where to_regclass(m) is null)
    union all
    select 11, 'new leaves are guarded, and what is done with roles is told', (
        select string_agg(e.hook, ', ')
        from (
            select 'audit.guard_leaf(regclass)',
                   exists (select from core.leaf_hook
                           where to_regprocedure(hook)
                                 = to_regprocedure('audit.guard_leaf(regclass)'))
            union all
            select 'audit.hear_event(text, text, jsonb, bigint)',
                   exists (select from security.event_hook
                           where to_regprocedure(hook) = to_regprocedure(
                               'audit.hear_event(text, text, jsonb, bigint)'))
        ) as e (hook, is_there)
        where not e.is_there)
    union all
    select 12, 'a new column is recorded as soon as it is accepted', (
        select 'audit.refresh(regclass)'
        where not exists (
            select from security.acceptance_hook
            where to_regprocedure(hook) = to_regprocedure('audit.refresh(regclass)')))
    union all
    select 13, 'no token reaches the log', (
        select 'security.bot_token.token is not marked'
        where not exists (
            select from audit.marked_column
            where relation = to_regclass('security.bot_token') and column_name = 'token'
              and mark = 'secret'))
    union all
    select 14, 'one salt, one setting, a first seal', (
        select 'not so'
        where (select count(*) from audit.salt) <> 1 or (select count(*) from audit.setting) <> 1
           or not exists (select from audit.seal where seal_id = 0))
)
select check_name, offenders is null as ok, offenders as detail
from result
order by place;
