-- How a migration begins and ends: what is there is what was accepted, then what it made is.

create function security.require_acceptor()
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
begin
    if not pg_has_role(security.caller(), 'app_owner', 'usage') then
        raise exception using
            errcode = 'MB113',
            message = format('%s may not accept what differs', security.caller()),
            hint    = 'Only the database''s owner, who migrates, or a superuser does.';
    end if;
end
$func$;

comment on function security.require_acceptor() is 'MB113 unless the caller is one of the owners.';

create function security.require_reason(p_reason text)
returns void
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    if p_reason is null or p_reason !~ e'\\S' or length(p_reason) > 1000 then
        raise exception using
            errcode = 'MB116',
            message = format('%s is no reason', quote_nullable(left(p_reason, 40))),
            hint    = 'Say why, for the record, in 1 to 1000 characters.';
    end if;
end
$func$;

comment on function security.require_reason(text) is
    'MB116 unless a reason for the record has 1 to 1000 characters, not all of them blank.';

create table security.unfinished (
    migration  text         not null,
    begun_at   timestamptz  not null default now(),

    constraint unfinished_pk primary key (migration)
);

comment on table security.unfinished is
    'Migrations that run in no transaction and have begun, but did not come to their
accept_inventory: killed, they are run again.';
comment on column security.unfinished.migration is 'The migration''s id.';

create function security.expect_inventory(p_unfinished text default null)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_found  text[];
    v_begun  text := (select string_agg(migration, ', ') from security.unfinished);
begin
    if security.in_migration()
       or exists (select from security.unfinished where migration = p_unfinished) then
        return;  -- it was said before, in this transaction
    end if;
    lock table security.accepted_fact in share row exclusive mode;
    select array_agg(format('%s %s', d.kind, d.object)) into v_found
    from security.differences() as d
    where d.kind <> 'login';  -- which a login can make of itself; nobody can accept it
    if v_found is not null then
        raise exception using
            errcode = 'MB111',
            message = format('the database is not what was accepted: %s differences',
                             cardinality(v_found)),
            detail  = array_to_string(v_found[:10], e'\n')
                      || case when cardinality(v_found) > 10 then e'\n…' else '' end,
            hint    = coalesce(v_begun || ' began and did not finish: run it again. ', '')
                      || 'See each: select * from security.differences(). Put it back; or, if it '
                      'is meant: select security.accept_inventory(''why''), after a restore or a '
                      'move select security.accept_cluster(''why'').';
    end if;
    if p_unfinished is not null then
        insert into security.unfinished (migration) values (p_unfinished);
    end if;
end
$func$;

comment on function security.expect_inventory(text) is
    'Begins a migration: refuses while the database is not what was last accepted, so that no
acceptance at its end pardons what somebody changed before. One that runs in no transaction passes
its id, and is let in again until it has come to its accept_inventory. MB111.';

create table security.acceptance_hook (
    hook  text  not null,

    constraint acceptance_hook_pk primary key (hook)
);

comment on table security.acceptance_hook is
    'Functions that are called before what is there is accepted: a migration whose code follows the
columns of tables adds its own here, and removes it again. So no migration has to call it.';
comment on column security.acceptance_hook.hook is
    'Signature; called without arguments, with the rights of the provisioner.';

create function security.run_acceptance_hooks()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_hook  regproc;
begin
    for v_hook in
        select core.routine_name(h.hook) from security.acceptance_hook as h order by h.hook
    loop
        execute format('select %s()', v_hook);
    end loop;
end
$func$;

comment on function security.run_acceptance_hooks() is
    'Calls every security.acceptance_hook; fails if one of them does.';

create function security.accept(p_reason text, p_scope text)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_broken   text;
    v_changes  jsonb;
    v_change   record;
begin
    perform security.require_acceptor();
    perform security.require_reason(p_reason);
    if not security.in_migration() then
        lock table security.accepted_fact in share row exclusive mode;
    end if;
    if p_scope is null then
        perform security.run_acceptance_hooks();
    end if;
    select string_agg(concat_ws(': ', c.check_name, c.detail), '; ') into v_broken
    from security.check_rules() as c
    where not c.ok and c.severity = 'critical';
    if v_broken is not null then
        raise exception using
            errcode = 'MB112',
            message = format('a rule is broken, which nobody can accept: %s', v_broken),
            hint    = 'Mend it first; select * from security.check() shows the rules.';
    end if;
    select coalesce(jsonb_agg(d), '[]') into v_changes
    from security.fact_differences() as d
    where d.scope = coalesce(p_scope, d.scope);
    for v_change in
        select * from jsonb_to_recordset(v_changes) as c (kind text, object text, accepted text)
        -- what is new is counted, unless it is little
        where accepted is not null or jsonb_array_length(v_changes) <= 10
        order by accepted is null, kind, object limit 10
    loop
        raise notice 'accepted: % %', v_change.kind, v_change.object;
    end loop;
    raise notice '%: facts accepted: %', p_reason, jsonb_array_length(v_changes);
    if v_changes <> '[]'
       or p_scope is null and exists (select from security.acceptance_differences()) then
        perform security.write_acceptance(p_reason, v_changes, p_pardons => p_scope is null);
    end if;
    delete from security.unfinished where migration = split_part(p_reason, ',', 1);
    return v_changes;
end
$func$;

comment on function security.accept(text, text) is
    'What accept_inventory and accept_cluster share; p_scope null: everything. Returns what
changed, as security.acceptance.changes.';

create function security.accept_inventory(p_reason text)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_changes  jsonb := security.accept(p_reason, null);
begin
    perform security.refuse_syntax_errors(array(
        select to_regprocedure(c.object)
        from jsonb_to_recordset(v_changes) as c (kind text, object text, live text)
        where c.kind = 'routine' and c.live is not null));
    return jsonb_array_length(v_changes);
end
$func$;

comment on function security.accept_inventory(text) is
    'Ends a migration''s apply.sql and rollback.sql, with its id as the reason: what is there is
accepted from now on, on record in the audit log; returns how many facts changed. By hand, with a
reason in words: what security.differences() shows is meant. MB112: a rule is broken; MB113: the
caller does not own the database; MB115: a body has a syntax error; MB116: no reason.';

create function security.accept_cluster(p_reason text)
returns integer
language sql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select jsonb_array_length(security.accept(p_reason, 'cluster'))
$func$;

comment on function security.accept_cluster(text) is
    'After a restore, a move or pg_upgrade: accepts what a dump of the database leaves behind (our
roles, their members and settings, rights on the database), and nothing else. Returns how many facts
changed. MB112, MB113, MB116.';
