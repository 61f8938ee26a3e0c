-- Every SQLSTATE of ours (class MB), and the codes of the runner.

create table core.error_code (
    code     text  not null,
    name     text  not null,
    meaning  text  not null,
    remedy   text  not null,

    constraint error_code_pk      primary key (code),
    constraint error_code_name_uq unique (name),
    constraint error_code_code_ck check (code ~ '^MB[0-9]{3}$')
);

comment on table core.error_code is
    'Every SQLSTATE of ours (class MB). Each migration adds its own rows and removes them again.';
comment on column core.error_code.remedy is 'The next step, as an imperative.';

insert into core.error_code (code, name, meaning, remedy) values
    ('MB001', 'data_would_be_lost',  'A rollback would throw rows away.',
        'Take a backup; --discard-data (psql, yoyo: set app.discard_data = on) throws them away.'),
    ('MB002', 'wrong_partitioning',  'The table is not partitioned in the way this function needs.',
        'Pass a table of schema core, or one that is partitioned by range of one timestamptz.'),
    ('MB003', 'unknown_bot',         'There is no bot with this id, or the caller is no bot.',
        'Log in as a bot, or pass p_bot_id; select bot_id, name from core.bots lists them.'),
    ('MB004', 'invalid_message',     'A message lacks a value, or has an impossible one.',
        'Correct the value that the message names.'),
    ('MB005', 'bot_name_taken',      'Another bot of the fleet has this name.',
        'Choose another name.'),
    ('MB006', 'no_such_month',       'A partition was asked for at no finite time.',
        'Pass a finite timestamptz.'),
    ('MB012', 'out_of_bounds',       'A value is larger than its column takes, or an odd time.',
        'Store less; core.bounds lists what each column takes.'),
    ('MB013', 'invalid_argument',    'An argument has an impossible value.',
        'Correct the argument that the message names.'),
    ('MB014', 'unknown_message',     'The chat has no message with this external id.',
        'Record it first, with its p_external_id: core.record_message.'),
    ('MB900', 'usage',               'The command line can''t be carried out as written.',
        'Read the message; runner.py COMMAND --help lists what the command takes.'),
    ('MB901', 'no_connection',       'The server can''t be reached, or refuses this login.',
        'Check the connection with runner.py setup --show.'),
    ('MB902', 'embedded_server',     'The embedded server does not start or stop.',
        'Read the last lines of .pgdata/server.log.'),
    ('MB903', 'bad_configuration',   'A setting has a value that can''t be used.',
        'Correct the variable that the message names; runner.py setup --show tells its source.'),
    ('MB904', 'missing_right',       'The login lacks a right, or the server is too old.',
        'Grant what the message names, or migrate as another login.'),
    ('MB905', 'sql_failed',          'The server refused a statement of a file.',
        'Correct the file at the line named, then repeat the command.'),
    ('MB906', 'verification_failed', 'A check of a verify.sql is not true.',
        'Compare the database with the migration; the row''s detail says what differs.'),
    ('MB907', 'drift',               'Files, yoyo''s marks and the history contradict each other.',
        'Read the line for each migration in runner.py status and do what it says.'),
    ('MB908', 'locked',              'Another runner or yoyo is at work on this database.',
        'Wait for it; after a crash of yoyo: make yoyo CMD=break-lock.'),
    ('MB909', 'unknown_migration',   'No migration has this name, or one is missing a file.',
        'List them with runner.py status.'),
    ('MB910', 'not_confirmed',       'The command needs a yes and did not get it.',
        'Answer yes, or pass --yes.'),
    ('MB911', 'bot_not_allowed',     'This installation is set to one bot, and another was named.',
        'Correct CURRENT_BOT_ID, or set MULTI_BOT_ENABLED=true.'),
    ('MB912', 'runner_failed',       'The runner met something it was not written for.',
        'Repeat with --log FILE and report what the file holds.'),
    ('MB913', 'not_replaceable',     'What was edited can''t be replaced in a database with data.',
        'Put the file back as it was, and write a migration: runner.py new NAME.'),
    ('MB914', 'changed_twice',       'An object was changed in its file and in the database.',
        'Choose: runner.py diff --take files OBJECT, or put its live text into the file.'),
    ('MB915', 'no_scratch_database', 'There is no empty database to see in what the files make.',
        'As a superuser: alter role LOGIN createdb. Or compare with what was accepted.');
