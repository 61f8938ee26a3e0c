-- The schema.

create schema security;

comment on schema security is
    'Who may do what: roles, logins, row level security, the bots'' tokens, and a check of it all.';
