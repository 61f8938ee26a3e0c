-- The chain of seals, and what a seal covers.

create table audit.seal (
    seal_id           bigint          not null,
    sealed_at         timestamptz     not null,
    entries           int8multirange  not null,
    entry_count       integer         not null,
    row_count         bigint          not null,
    last_entry        bigint          not null,
    gaps              int8multirange  not null,
    xid_max           bigint          not null,
    complete_at       timestamptz     not null,
    complete_xid_min  bigint          not null,
    complete_xid_max  bigint          not null,
    cluster           text            not null,
    machinery         bytea           not null,
    leaves            bytea           not null,
    salts             bytea           not null,
    root              bytea           not null,

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
comment on column audit.seal.leaves is '32 bytes for each entry, in order: sha256(salt, entry).';
comment on column audit.seal.salts is
    '16 random bytes for each entry. audit.erase replaces them: what was erased can''t be guessed.';
comment on column audit.seal.root is
    'sha256 over all of the above but the salts, and the root before.';

create view audit.sealable
with (security_invoker = true)
as
select entry_id, row_count, convert_to(row(
           entry_id, transaction_id, to_json(occurred_at at time zone 'UTC'), bot_id, first_key,
           last_key, correlation_id, row_count, is_block, operation, table_name, kind, severity,
           login, role, actor, client_address, application_name, row_keys, old_values,
           new_values)::text, 'UTF8') as octets
from audit.security_audit_log;

comment on view audit.sealable is
    'Each entry as the octets that its leaf is a digest of: sha256(salt || octets). The same on
every server, under any setting. A view, since a call for each entry would be most of a seal.';

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

create function audit.machinery()
returns bytea
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
-- version: what was made anew, or off and on again in the meantime, is another row
select sha256(convert_to(coalesce(string_agg(
           concat_ws('|', kind, object, definition, version), e'\n'
           order by kind collate "C", object collate "C", version collate "C"), ''), 'UTF8'))
from security.facts_about('audit')
$func$;

comment on function audit.machinery() is
    'Digest of what captures, guards and keeps the log (triggers, functions, rules, defaults,
policies), and of when each was last touched: the inventory''s facts about audit.';

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
    encode(sha256(p_seal.leaves), 'hex'))::text, 'UTF8'))
$func$;

comment on function audit.seal_root(audit.seal, bytea) is
    'The root of a seal, from its row and the root before it.';
