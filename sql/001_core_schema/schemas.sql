-- The three schemas, in a database that can hold what people write.

do $encoding$
begin
    if getdatabaseencoding() <> 'UTF8' then
        raise exception using
            errcode = 'MB904',
            message = format('the database is encoded in %s', getdatabaseencoding()),
            hint    = 'Make another: createdb --template=template0 --encoding=UTF8';
    end if;
end
$encoding$;

create schema core;
create schema core_partitions;
create schema core_upkeep;

comment on schema core is 'What the bots keep: bots, contacts, conversations, messages, metrics.';
comment on schema core_partitions is
    'The leaves of the tables in core. Read and write through the tables in core, never here.';
comment on schema core_upkeep is
    'What the triggers of core do beyond the rights of whoever fires them: counters, names.';
