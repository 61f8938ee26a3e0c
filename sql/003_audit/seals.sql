-- The chain of seals, and what a seal covers.

create table audit.seal (
    seal_id           bigint            not null,
    sealed_at         timestamptz       not null,
    entries           int8multirange    not null,
    entry_count       integer           not null,
    row_count         bigint            not null,
    last_entry        bigint            not null,
    gaps              int8multirange    not null,
    xid_max           bigint            not null,
    complete_at       timestamptz       not null,
    complete_xid_min  bigint            not null,
    complete_xid_max  bigint            not null,
    cluster           text              not null,
    machinery         bytea             not null,
    leaves            bytea             not null,
    salts             bytea             not null,
    root              bytea             not null,
    months            date[]            not null default '{}',
    month_entries     int8multirange[]  not null default '{}',

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
comment on column audit.seal.leaves is
    '32 bytes for each entry, in order: sha256(facts || sha256(salt || contents)), of
audit.sealable.';
comment on column audit.seal.salts is
    '16 random bytes for each entry. audit.erase replaces them: what was erased can''t be guessed.';
comment on column audit.seal.root is
    'sha256 over all else but the salts, and the root before.';
comment on column audit.seal.months is
    'The months that the entries are of, by their first day. What is missing later is believed to
have ended with its month, and with no other.';
comment on column audit.seal.month_entries is 'entry_id of what is of each of the months.';

create view audit.sealable
with (security_invoker = true)
as
select entry_id, row_count, occurred_at, tableoid as month,
       sha256(coalesce(sha256(convert_to(row_keys::text, 'UTF8')), e'\\x00') || convert_to(row(
           entry_id, transaction_id, to_json(occurred_at at time zone 'UTC'), bot_id, first_key,
           last_key, correlation_id, row_count, is_block, operation, table_name, kind, severity,
           login, role, actor, client_address, application_name)::text, 'UTF8')) as facts,
       coalesce(sha256(convert_to(old_values::text, 'UTF8')), e'\\x00')
           || coalesce(sha256(convert_to(new_values::text, 'UTF8')), e'\\x00') as contents
from audit.security_audit_log;

comment on view audit.sealable is
    'Each entry as two digests, which its leaf is made of: facts (who, when, what, which rows) stay
for as long as the entry; contents (the values) may be blanked by audit.erase. The same on every
server, under any setting. Each large column is hashed by itself, so that no text is made of
several. A view, since a call for each entry would be most of a seal.';

create function audit.cluster()
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select format('%s/%s', c.system_identifier, d.oid)
from pg_control_system() as c
join pg_database as d on d.datname = current_database()
$func$;

comment on function audit.cluster() is
    'This cluster and database, by numbers that a copy does not share.';

create function audit.watched()
returns table (catalog regclass, part text, version text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with schema as materialized (
    select oid, nspname, xmin
    from pg_namespace
    where nspname in ('audit', 'audit_partitions', 'core', 'core_partitions', 'core_upkeep',
                      'security')
), whole as materialized (
    -- tables by which rows are written and read, and what the audit itself is made of
    select c.oid, c.xmin
    from pg_class as c
    where not c.relispartition and c.relkind in ('r', 'p', 'v') and (
        c.relnamespace in (select oid from schema where nspname = 'audit')
        or c.oid in (select relation from audit.capture)
        or c.oid in (select relation from core.bot_table))
), relation as materialized (
    select oid from whole
    union all
    -- nobody has a right on a partition, and one may be packed anew
    select i.inhrelid from pg_inherits as i where i.inhparent in (select oid from whole)
)
select 'pg_namespace'::regclass, oid::text, xmin::text from schema
union all
select 'pg_class'::regclass, oid::text, xmin::text from whole
union all
select 'pg_class'::regclass, c.oid::text,
       concat_ws(' ', c.relnamespace, c.relname, c.relowner, c.relacl, c.relrowsecurity,
                 c.relforcerowsecurity)
from pg_class as c where c.oid in (select oid from relation) and c.relispartition
union all
select 'pg_inherits'::regclass, i.inhrelid::text, i.xmin::text
from pg_inherits as i where i.inhparent in (select oid from whole)
union all
select 'pg_attribute'::regclass, concat_ws(' ', a.attrelid, a.attnum), a.xmin::text
from pg_attribute as a where a.attrelid in (select oid from whole) and a.attnum > 0
union all
select 'pg_attrdef'::regclass, d.oid::text, d.xmin::text
from pg_attrdef as d where d.adrelid in (select oid from relation)
union all
select 'pg_trigger'::regclass, g.oid::text, g.xmin::text
from pg_trigger as g where g.tgrelid in (select oid from relation) and not g.tgisinternal
union all
select 'pg_policy'::regclass, p.oid::text, p.xmin::text
from pg_policy as p where p.polrelid in (select oid from relation)
union all
select 'pg_rewrite'::regclass, w.oid::text, w.xmin::text
from pg_rewrite as w where w.ev_class in (select oid from relation)
union all
select 'pg_proc'::regclass, p.oid::text, p.xmin::text
from pg_proc as p where p.pronamespace in (select oid from schema)
$func$;

comment on function audit.watched() is
    'The rows of the server''s catalogs on which it depends that every change is recorded, and that
the log stays: (catalog, part, version: changes whenever the row is written). Tables and who may do
what with them, columns, triggers, policies, rules, defaults, and the functions of audit, core and
security. What is granted and taken back, or off and on again, has another version.';

create function audit.machinery()
returns bytea
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select sha256(convert_to(coalesce(string_agg(
           concat_ws('|', catalog::oid, part, version), e'\n'
           order by catalog::oid, part collate "C", version collate "C"), ''), 'UTF8'))
from audit.watched()
$func$;

comment on function audit.machinery() is
    'Digest of audit.watched(): what captures, guards and keeps the log, and when each part of it
was last touched.';

create function audit.seal_root(p_seal audit.seal, p_previous bytea)
returns bytea
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
as $func$
select sha256(p_previous || convert_to(row(
    p_seal.seal_id, p_seal.sealed_at, p_seal.entries, p_seal.entry_count, p_seal.row_count,
    p_seal.last_entry, p_seal.gaps, p_seal.xid_max, p_seal.complete_at, p_seal.complete_xid_min,
    p_seal.complete_xid_max, p_seal.cluster, encode(p_seal.machinery, 'hex'),
    encode(sha256(p_seal.leaves), 'hex'), p_seal.months,
    p_seal.month_entries)::text, 'UTF8'))
$func$;

comment on function audit.seal_root(audit.seal, bytea) is
    'The root of a seal, from its row and the root before it.';
