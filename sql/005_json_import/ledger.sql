-- Runs, files, rejects, the quarantine's bytes.

create table json_import.run (
    run_id          bigint       generated always as identity,
    source          text         not null,
    options         jsonb        not null default '{}',
    login           name         not null default session_user,
    correlation_id  text
        default nullif(left(current_setting('app.correlation_id', true), 100), ''),
    started_at      timestamptz  not null default clock_timestamp(),
    finished_at     timestamptz,
    unchanged       bigint       not null default 0,

    constraint run_pk primary key (run_id)
);

comment on table json_import.run is
    'One row per import, retry included. An import reads the files of many bots: hence no bot_id,
and no row in core.bot_table; a bot that moves takes the runs along that its files name.';
comment on column json_import.run.source is 'The folder as the client named it.';
comment on column json_import.run.options is 'The client''s flags.';
comment on column json_import.run.login is 'session_user: a fact, not a claim.';
comment on column json_import.run.started_at is 'When it began.';
comment on column json_import.run.finished_at is
    'When it ended; null while it runs, or was killed.';
comment on column json_import.run.unchanged is 'Files that were as the ledger knows them.';

create table json_import.file (
    bot_id       bigint       not null,
    file_id      bigint       generated always as identity,
    path         text         not null,
    kind         text         not null,
    chat_id      bigint,
    status       text         not null,
    sha256       bytea,
    octets       bigint       not null,
    records      integer      not null default 0,
    row_count    integer      not null default 0,
    body_octets  bigint       not null default 0,
    digest       numeric      not null default 0,
    sequence     numeric      not null default 0,
    defects      integer      not null default 0,
    warnings     jsonb        not null default '{}',
    wrapper      jsonb,
    reason       text,
    must_reread  boolean      not null default false,
    run_id       bigint       not null,
    imported_at  timestamptz  not null default clock_timestamp(),

    constraint file_pk         primary key (bot_id, file_id),
    constraint file_path_uq    unique (bot_id, path),
    constraint file_run_fk     foreign key (run_id) references json_import.run (run_id),
    constraint file_kind_ck    check (
        kind in ('profiles', 'profile', 'conversation', 'backup', 'other')),
    constraint file_status_ck  check (status in ('loaded', 'quarantined', 'ignored')),
    constraint file_defects_ck check ((status = 'quarantined') = (defects > 0)),
    constraint file_reason_ck  check ((status = 'ignored') = (reason is not null))
);

comment on table json_import.file is
    'The ledger: one row per file of a bot''s folder, as last read. It commits with the rows it
counts.';
comment on column json_import.file.path is
    e'Relative to the bot''s folder; \\xNN for a byte that is no UTF-8, \\\\ for a backslash.
\\file 17 where the ledger knows but the rows of a file (list_found_rows).';
comment on column json_import.file.kind is 'profiles, profile, conversation, backup, or other.';
comment on column json_import.file.chat_id is 'As the file''s name says; null for the single file.';
comment on column json_import.file.status is
    'loaded, quarantined or ignored. Rows that an earlier, good version brought stay.';
comment on column json_import.file.sha256 is 'Of the bytes; null if they could not be read.';
comment on column json_import.file.octets is 'Size in bytes.';
comment on column json_import.file.records is 'Messages or profiles that the file holds.';
comment on column json_import.file.row_count is
    'Rows that came from it; fewer than records where the conversation had a backup''s messages.';
comment on column json_import.file.body_octets is 'Bytes of text in those rows.';
comment on column json_import.file.digest is
    'Sum of a 64-bit hash of each of those rows: independent of order, aware of equal rows.';
comment on column json_import.file.sequence is
    'Of a conversation: the same sum over the messages in the file, the place of each hashed in.
Aware of order, proves an append.';
comment on column json_import.file.defects is 'How many were found; the first 1,000 are in reject.';
comment on column json_import.file.warnings is
    'Counts by kind: no_zone, bom, no_profile, unknown_key, …';
comment on column json_import.file.wrapper is
    'What the object around the messages says besides them (date, name, unknown keys).';
comment on column json_import.file.reason is 'Why it was ignored.';
comment on column json_import.file.must_reread is
    'Not to be taken for known, though the bytes are the same: a backup whose conversation was
edited since, a quarantined file whose bytes are kept no longer.';
comment on column json_import.file.imported_at is 'When it was read.';

create index file_chat_idx on json_import.file (bot_id, chat_id);
comment on index json_import.file_chat_idx is
    'Files of a chat: where bot_id = $1 and chat_id = $2.';

create table json_import.reject (
    bot_id   bigint   not null,
    file_id  bigint   not null,
    ordinal  integer  not null,
    pointer  text     not null,
    code     text     not null,
    message  text     not null,
    excerpt  text,

    constraint reject_pk      primary key (bot_id, file_id, ordinal),
    constraint reject_file_fk foreign key (bot_id, file_id)
        references json_import.file (bot_id, file_id) on delete cascade
);

comment on table json_import.reject is 'Why a file is in quarantine: one row per defect.';
comment on column json_import.reject.ordinal is 'Order of the defects in the file, from 1.';
comment on column json_import.reject.pointer is
    'RFC 6901, leads to the value; empty for the whole file.';
comment on column json_import.reject.code is 'core.error_code.code; the remedy is there.';
comment on column json_import.reject.message is 'The fact, with the value.';
comment on column json_import.reject.excerpt is 'Up to 200 characters of what is there.';

create table json_import.kept_bytes (
    bot_id   bigint   not null,
    file_id  bigint   not null,
    part     integer  not null,
    bytes    bytea    not null,

    constraint kept_bytes_pk      primary key (bot_id, file_id, part),
    constraint kept_bytes_file_fk foreign key (bot_id, file_id)
        references json_import.file (bot_id, file_id) on delete cascade
);

comment on table json_import.kept_bytes is 'Every quarantined file as it was: nothing is lost.';
comment on column json_import.kept_bytes.part is 'From 0; only a very large file has several.';
comment on column json_import.kept_bytes.bytes is 'As read; the file''s sha256 is over all parts.';

create table json_import.profile_source (
    bot_id      bigint  not null,
    profile_id  bigint  not null,
    file_id     bigint  not null,
    digest      bigint  not null,

    constraint profile_source_pk      primary key (bot_id, profile_id),
    constraint profile_source_file_fk foreign key (bot_id, file_id)
        references json_import.file (bot_id, file_id) on delete cascade
);

comment on table json_import.profile_source is 'Which file a contact''s row was last filled from.';
comment on column json_import.profile_source.digest is
    'Hash of the row as loaded: while it still holds, no bot has changed the row. 0 where a bot had
made or changed it before.';

create index profile_source_file_idx on json_import.profile_source (bot_id, file_id);
comment on index json_import.profile_source_file_idx is
    'Contacts from a file: where bot_id = $1 and file_id = $2.';

insert into core.bot_table (relation, is_audited, ranged_id) values
    ('json_import.file',           false, 'file_id'),  -- says itself what became of each file
    ('json_import.reject',         false, null),
    ('json_import.kept_bytes',     false, null),
    ('json_import.profile_source', false, null);
