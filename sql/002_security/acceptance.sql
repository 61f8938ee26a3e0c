-- What was accepted, and what differs from it.

create table security.accepted_fact (
    kind        text  not null,
    object      text  not null,
    scope       text  not null,
    definition  text  not null,

    constraint accepted_fact_pk       primary key (kind, object),
    constraint accepted_fact_scope_ck check (scope in ('database', 'cluster'))
);

comment on table security.accepted_fact is
    'The inventory as it was last accepted; written by accept_inventory, accept_cluster and
accept_facts only.';

comment on column security.accepted_fact.kind is 'As in security.inventory().';
comment on column security.accepted_fact.object is 'What the fact is about.';
comment on column security.accepted_fact.scope is 'database; cluster: what a dump leaves behind.';
comment on column security.accepted_fact.definition is 'What was accepted of it.';

create table security.acceptance (
    acceptance_id  bigint       generated always as identity,
    reason         text         not null,
    accepted_at    timestamptz  not null default clock_timestamp(),
    login          name         not null default session_user,
    facts          integer      not null,
    digest         text         not null,
    changes        jsonb        not null,

    constraint acceptance_pk primary key (acceptance_id)
);

comment on table security.acceptance is 'Who accepted what, when, and why; rows are only added.';
comment on column security.acceptance.reason is
    'The migration, or what called for it; free text of who accepted by hand.';
comment on column security.acceptance.accepted_at is 'The clock''s time.';
comment on column security.acceptance.login is 'session_user: a fact, not a claim.';
comment on column security.acceptance.facts is 'How many facts are accepted from then on.';
comment on column security.acceptance.digest is 'A digest of all of them.';
comment on column security.acceptance.changes is
    'What was accepted: [{kind, object, accepted: as before, live: from now on}].';

create function security.accepted_digest()
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select encode(sha256(convert_to(coalesce(string_agg(
           row(kind, object, scope, definition)::text, e'\n'
           order by kind collate "C", object collate "C"), ''), 'UTF8')), 'hex')
from security.accepted_fact
$func$;

comment on function security.accepted_digest() is
    'A digest of what is accepted, as security.acceptance keeps it.';

create function security.fact_differences()
returns table (scope text, kind text, object text, accepted text, live text)
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $func$
select coalesce(l.scope, a.scope), kind, object, a.definition, l.definition
from security.accepted_fact as a
full join security.inventory() as l using (kind, object)
where a.definition is distinct from l.definition
$func$;

comment on function security.fact_differences() is
    'The inventory beside what was accepted of it; as security.differences(), but without the
logins, and before the first acceptance too: everything.';

create function security.acceptance_differences()
returns table (scope text, kind text, object text, accepted text, live text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select 'database', 'acceptance', 'security.accepted_fact', a.digest, l.digest
from (select security.accepted_digest()) as l (digest)
cross join lateral (
    select (select digest from security.acceptance order by acceptance_id desc limit 1)
) as a (digest)
where a.digest is distinct from l.digest
$func$;

comment on function security.acceptance_differences() is
    'A row if what is accepted is not what the last acceptance left, as where somebody wrote into
the tables, or emptied them; as security.differences().';

create function security.differences()
returns table (scope text, kind text, object text, accepted text, live text)
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set jit = off
as $func$
select d.*
from security.fact_differences() as d
where exists (select from security.accepted_fact)
  and not (d.accepted is null and format('%s %s: %s', d.kind, d.object, d.live) in (
      select object from security.rule_exception where rule = 'superuser''s grant'))
union all
select * from security.acceptance_differences()
union all
select 'cluster', 'login', login, expected, d.live
from security.login_differences() as d
order by 1 desc, 2, 3
$func$;

comment on function security.differences() is
    'What is not as it was accepted: (scope, kind, object, accepted, live); null where it was not
there, or is not. Where nothing is accepted: one row, which says so.';

create function security.in_migration()
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select exists (
    select
    from pg_locks
    where pid = pg_backend_pid() and granted and mode = 'ShareRowExclusiveLock'
      and relation = 'security.accepted_fact'::regclass
      and database = (select oid from pg_database where datname = current_database()))
$func$;

comment on function security.in_migration() is
    'Whether this transaction called expect_inventory: what it changes is accepted at its end.';

create function security.acceptance_record(p_acceptance security.acceptance)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $func$
select to_jsonb(p_acceptance) || jsonb_build_object(
    'changes', case when jsonb_array_length(p_acceptance.changes) <= 100 then p_acceptance.changes
                    else to_jsonb(jsonb_array_length(p_acceptance.changes)) end,
    'changes_digest', security.body_digest(p_acceptance.changes::text))
$func$;

comment on function security.acceptance_record(security.acceptance) is
    'An acceptance as it goes on record: its changes themselves up to a hundred, their number beyond
that, and always a digest of them.';

create function security.write_acceptance(
    p_reason   text,
    p_changes  jsonb,
    p_pardons  boolean default false
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_acceptance  security.acceptance;
    v_wrong       text := (select coalesce(accepted, '')
                                             from security.acceptance_differences());
begin
    delete from security.accepted_fact as a
    using jsonb_to_recordset(p_changes) as c (kind text, object text)
    where (a.kind, a.object) = (c.kind, c.object);
    insert into security.accepted_fact (scope, kind, object, definition)
    select c.scope, c.kind, c.object, c.live
    from jsonb_to_recordset(p_changes) as c (scope text, kind text, object text, live text)
    where c.live is not null;
    insert into security.acceptance (reason, facts, digest, changes)
    select p_reason, count(*),
           case when p_pardons or v_wrong is null then security.accepted_digest() else v_wrong end,
           p_changes
    from security.accepted_fact
    returning * into v_acceptance;
    perform security.run_event_hooks(
        'inventory_accepted', security.acceptance_record(v_acceptance));
end
$func$;

comment on function security.write_acceptance(text, jsonb, boolean) is
    'Makes the live definitions of some facts the accepted ones, and puts that on record; p_pardons:
also what somebody wrote into the accepted ones, which else remains a difference.';

create function security.accept_facts(p_reason text, p_facts text[])
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_changes  jsonb;
begin
    if security.in_migration() or not exists (select from security.accepted_fact) then
        return;
    end if;
    with difference as materialized (
        select d.*, format('%s %s', d.kind, d.object) = any (p_facts) as is_named
        from security.differences() as d
    )
    select jsonb_agg(to_jsonb(d) - 'is_named') into v_changes
    from difference as d
    where d.is_named
       -- a routine that is new, or gone, takes its owner and its rights along
       or d.kind in ('owner', 'right') and exists (
           select
           from difference as r
           where r.is_named and r.kind = 'routine' and (r.accepted is null or r.live is null)
             and (d.object = r.object
                  or right(d.object, length(r.object) + 4) = ' on ' || r.object));
    if v_changes is not null then
        perform security.write_acceptance(p_reason, v_changes);
    end if;
end
$func$;

comment on function security.accept_facts(text, text[]) is
    'For functions of ours that lawfully change facts: these (kind and object, as in
security.inventory: policy own_rows on core.bots) are accepted as they are now, and nothing else is,
so that no call pardons what somebody changed before. Within a migration nothing is done: its end
accepts them.';
