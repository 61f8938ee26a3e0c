-- Error codes MB201 to MB209.

insert into core.error_code (code, name, meaning, remedy) values
    ('MB201', 'not_auditable',          'A table can''t be audited as it is.',
        'Change the table as the message says.'),
    ('MB202', 'log_is_append_only',     'The audit log and its seals are never changed.',
        'Leave them: audit.erase blanks what a person may have erased.'),
    ('MB203', 'leaf_write_refused',     'A statement names a partition, where nothing is audited.',
        'Write through the table in core.'),
    ('MB204', 'invalid_correlation_id', 'app.correlation_id is set and is no uuid.',
        'Set it to a uuid, or to nothing.'),
    ('MB205', 'unknown_policy',         'An audit policy is named that is not there.',
        'Pass changed or keys.'),
    ('MB206', 'invalid_retention',      'The log is to be kept for too short a time, or too long.',
        'Pass 30 to 36500 days.'),
    ('MB207', 'nothing_to_erase',       'The log knows nothing of this person.',
        'Check bot_id and telegram_id; a reason is needed, too.'),
    ('MB208', 'not_audited',            'The table has never been audited.',
        'Call audit.enable for it, as its owner.'),
    ('MB209', 'invalid_event',          'An event has no kind of its own, or no severity.',
        'Choose a kind of your own; info, notice, warning or critical.');
