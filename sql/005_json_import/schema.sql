-- The schema.

create schema json_import;

comment on schema json_import is
    'Reads the bots'' JSON files: the ledger of what was loaded, the quarantine of what was not, and
the functions that tell one from the other.';
