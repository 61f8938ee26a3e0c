-- What a rule of security.check() lets pass, registered by the migration that needs it.

create table security.rule_exception (
    rule     text  not null,
    routine  text  not null,
    reason   text  not null,

    constraint rule_exception_pk      primary key (rule, routine),
    constraint rule_exception_rule_ck check (rule in ('unpinned path', 'replica mode'))
);

comment on table security.rule_exception is
    'Routines that a rule of security.check() lets pass. A migration adds its own, and removes them
again.';
comment on column security.rule_exception.rule is
    'unpinned path: no search_path of its own; replica mode: it sets session_replication_role.';
comment on column security.rule_exception.routine is 'Its signature.';

create function security.exceptions(p_rule text)
returns setof oid
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select to_regprocedure(routine)::oid
from security.rule_exception
where rule = p_rule and to_regprocedure(routine) is not null
$func$;

comment on function security.exceptions(text) is 'The routines that a rule lets pass, by oid.';
