-- The three schemas.

create schema core;
create schema core_partitions;
create schema core_upkeep;

comment on schema core is 'What the bots keep: bots, contacts, conversations, messages, metrics.';
comment on schema core_partitions is
    'The leaves of the tables in core. Read and write through the tables in core, never here.';
comment on schema core_upkeep is
    'What the triggers of core do beyond the rights of whoever fires them: counters, names.';
