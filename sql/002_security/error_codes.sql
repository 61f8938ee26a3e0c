-- Error codes MB101 to MB110.

insert into core.error_code (code, name, meaning, remedy) values
    ('MB101', 'role_not_usable',  'A role, or a membership, that another one made is in the way.',
        'Have it corrected by who may, as the message says.'),
    ('MB102', 'no_verifier',      'A password was given where a SCRAM verifier belongs.',
        'Take runner.py bot add or rotate, or psql''s \password, which make one.'),
    ('MB103', 'login_exists',     'A role of this name is there already; it is never taken over.',
        'Choose another name.'),
    ('MB104', 'invalid_name',     'A bot or a login can''t have this name.',
        'Choose a name that fits what the message says.'),
    ('MB105', 'unknown_login',    'No login of this name was made for this database.',
        'Take one that create_admin or create_worker made.'),
    ('MB106', 'bot_has_rows',     'The bot still has rows.',
        'Take a backup, then drop it with p_discard (runner.py bot drop --discard-data).'),
    ('MB107', 'invalid_token',    'A token is empty or holds blanks.',
        'Pass the token as the messenger gave it.'),
    ('MB108', 'refused_write',    'A statement that no table of the bots allows.',
        'Delete through the table in core; insert a row of another bot anew.'),
    ('MB109', 'not_protectable',  'The table has no bot_id to protect its rows by.',
        'Add a column bot_id bigint.'),
    ('MB110', 'password_not_set', 'The server refused a password.',
        'Read the message: it is the server''s.');
