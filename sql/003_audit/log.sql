-- The log, its settings and its salt.

create function audit.to_correlation_id(p_text text)
returns uuid
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $func$
begin
    if p_text = '' then
        return null;  -- as a setting is after the transaction that set it
    end if;
    if left(p_text, 100) !~* '^[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}$' then
        raise exception using
            errcode = 'MB204',
            message = format('app.correlation_id is %L, which is no uuid', left(p_text, 100)),
            hint    = 'set app.correlation_id to a uuid, as of gen_random_uuid(), or to nothing.';
    end if;
    return p_text::uuid;
end
$func$;

comment on function audit.to_correlation_id(text) is
    'The setting app.correlation_id as a uuid; null of none. MB204: no uuid.';

-- transaction_id comes first, so that a transaction has one before it draws an entry_id: audit.seal
-- counts on it. No constraint beyond NOT NULL and no partial index: the server would prepare their
-- expressions anew for every statement, at a third of what an entry costs. The same goes for calls
-- in defaults: they are few.
create table audit.security_audit_log (
    transaction_id    bigint       not null default txid_current(),
    entry_id          bigint       generated always as identity,
    occurred_at       timestamptz  not null default clock_timestamp(),
    bot_id            bigint       not null,
    first_key         bigint,
    last_key          bigint,
    correlation_id    uuid         not null
        default coalesce(audit.to_correlation_id(current_setting('app.correlation_id', true)),
                         lpad(to_hex(txid_current()), 32, '0')::uuid),
    row_count         integer      not null default 1,
    is_block          boolean      not null default false,
    operation         text         not null,
    table_name        text         collate "C",
    kind              text,
    severity          text,
    login             text         not null default session_user,
    role              text         not null
        default case current_setting('role') when 'none' then session_user::text
                     else current_setting('role') end,
    actor             text
        default nullif(left(current_setting('app.actor', true), 200), ''),
    client_address    inet         default inet_client_addr(),
    application_name  text
        default nullif(left(current_setting('application_name'), 64), ''),
    row_keys          json,
    old_values        json,
    new_values        json,

    constraint security_audit_log_pk primary key (bot_id, entry_id, occurred_at)
) partition by range (occurred_at);

comment on table audit.security_audit_log is
    'One entry per changed row, or, for a statement that changed more than 8 rows, per bot and 4,096
rows or 16 MiB of it: a block. Written by triggers as each statement ends. audit.events shows one
row per changed row. Partitioned by month.';
comment on column audit.security_audit_log.transaction_id is 'pg_current_xact_id(), as a number.';
comment on column audit.security_audit_log.occurred_at is
    'When the entry was written: the clock''s time, not the transaction''s.';
comment on column audit.security_audit_log.bot_id is
    'Whose row changed, 0: no bot''s; who may read that bot''s entries reads this one.';
comment on column audit.security_audit_log.first_key is
    'Least last column of the primary key among the rows, as a number: see audit.key_sql.';
comment on column audit.security_audit_log.last_key is 'The greatest of them.';
comment on column audit.security_audit_log.correlation_id is
    'What ties together the changes of one request: the setting app.correlation_id, else a uuid made
of the transaction''s id.';
comment on column audit.security_audit_log.row_count is 'How many rows the entry is about.';
comment on column audit.security_audit_log.is_block is
    'Whether row_keys, old_values and new_values are {"column": [one value per row]}, and not
{"column": value}.';
comment on column audit.security_audit_log.operation is
    'INSERT, UPDATE, DELETE or TRUNCATE of rows, or EVENT: see audit.log_event.';
comment on column audit.security_audit_log.table_name is 'With its schema; null of an EVENT.';
comment on column audit.security_audit_log.kind is 'What happened; of an EVENT only.';
comment on column audit.security_audit_log.severity is
    'info, notice, warning or critical; of an EVENT only.';
comment on column audit.security_audit_log.login is 'session_user: who logged in. A fact.';
comment on column audit.security_audit_log.role is 'The role in force (SET ROLE). A fact.';
comment on column audit.security_audit_log.actor is
    'The setting app.actor, up to 200 characters of it: who, by the program''s word, it was done
for. A claim.';
comment on column audit.security_audit_log.client_address is
    'Where the connection came from; null for one by a socket of the machine.';
comment on column audit.security_audit_log.application_name is
    'What the program calls itself, up to 64 characters of it. A claim.';
comment on column audit.security_audit_log.row_keys is
    'Columns of the primary key, without bot_id.';
comment on column audit.security_audit_log.old_values is
    'UPDATE: the columns that changed, as they were. DELETE: all others than the key.';
comment on column audit.security_audit_log.new_values is
    'UPDATE: the columns that changed, as they are. INSERT: all others than the key. Under policy
keys {"*": digest of the row without its key} in place of any value. EVENT: its detail.';

create index security_audit_log_entry_idx on audit.security_audit_log (entry_id);
create index security_audit_log_correlation_idx on audit.security_audit_log (correlation_id);
create index security_audit_log_row_idx
    on audit.security_audit_log (bot_id, table_name, is_block, first_key, last_key);

comment on index audit.security_audit_log_entry_idx is 'For audit.seal and audit.verify_seals.';
comment on index audit.security_audit_log_correlation_idx is 'For audit.by_correlation.';
comment on index audit.security_audit_log_row_idx is
    'For audit.row_history, and events: these have no table_name, and most are of no bot.';

insert into core.bot_table (relation, is_audited, on_bot_drop)
values ('audit.security_audit_log', false, 'keep');

do $compression$
declare
    v_column  name;
begin
    if 'lz4' = any (
        select unnest(enumvals) from pg_settings where name = 'default_toast_compression') then
        foreach v_column in array array['row_keys', 'old_values', 'new_values'] loop
            execute format('alter table audit.security_audit_log alter %I set compression lz4',
                           v_column);
        end loop;
    end if;
end
$compression$;

create table audit.setting (
    retention_days  integer  not null default 400,

    constraint setting_retention_ck check (retention_days between 30 and 36500)
);

comment on table audit.setting is 'One row; audit.set_retention changes it.';
comment on column audit.setting.retention_days is
    'How long a month of the log is kept after its end, in days.';

create unique index setting_one_row on audit.setting ((true));
comment on index audit.setting_one_row is 'There is one row.';
insert into audit.setting default values;

create table audit.salt (
    salt  bytea  not null
);

comment on table audit.salt is
    'One row: what the digests of values are salted with, so that nobody finds a value by trying.';

comment on column audit.salt.salt is '32 random bytes, made here and never changed.';

insert into audit.salt (salt)
values (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
