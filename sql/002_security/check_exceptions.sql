-- What a rule of security.check_rules() lets pass, registered by the migration that needs it.

create table security.rule_exception (
    rule    text  not null,
    object  text  not null,
    reason  text  not null,

    constraint rule_exception_pk      primary key (rule, object),
    constraint rule_exception_rule_ck check (
        rule in ('unpinned path', 'replica mode', 'shared table', 'public routine',
                 'superuser''s grant'))
);

comment on table security.rule_exception is
    'What a rule of security.check_rules(), or security.differences(), lets pass. A migration adds
its own, and removes them again.';
comment on column security.rule_exception.rule is
    'unpinned path: a routine without a search_path of its own; replica mode: a routine that sets
session_replication_role; shared table: every bot may read it, no row of it is one bot''s;
public routine: everybody may execute it, so its schema lets everybody in;
superuser''s grant: what a role of ours has in the cluster as soon as a superuser migrates, here or
in a sister database: no difference when it appears.';
comment on column security.rule_exception.object is
    'The signature, the table''s name, or the fact: its kind, object and definition.';
comment on column security.rule_exception.reason is 'Why the rule may let it pass.';

insert into security.rule_exception (rule, object, reason) values
    ('shared table', 'core.error_code', 'the codes and what to do about each'),
    ('shared table', 'core.message_kind', 'what a message can be'),
    ('superuser''s grant', 'right to rights of the provisioner on parameter temp_file_limit: SET',
     'limit_login gives with it each login a limit of temporary files');

create function security.exceptions(p_rule text)
returns setof oid
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(to_regprocedure(case when strpos(object, '(') > 0 then object end)::oid,
                to_regclass(case when strpos(object, '(') = 0 then object end)::oid)
from security.rule_exception
where rule = p_rule
$func$;

comment on function security.exceptions(text) is
    'The routines or tables that a rule lets pass, by oid; null for one that is not there.';
