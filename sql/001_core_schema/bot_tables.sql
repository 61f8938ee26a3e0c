-- The registry of the tables that hold a bot's rows.

create table core.bot_table (
    relation     regclass  not null,
    place        integer   generated always as identity,
    is_derived   boolean   not null default false,
    is_audited   boolean   not null default true,
    on_bot_drop  text      not null default 'refuse',
    ranged_id    name,

    constraint bot_table_pk          primary key (relation),
    constraint bot_table_place_uq    unique (place),
    constraint bot_table_drop_ck     check (on_bot_drop in ('refuse', 'delete', 'keep'))
);

comment on table core.bot_table is
    'Every table that holds rows of a bot: has bot_id, and a primary key that begins with it, so
that a publication can be filtered by bot. Each migration registers its own tables (security.protect
does so, too) and takes them back before it drops them.';
comment on column core.bot_table.relation is
    'The table itself, not its partitions. Unlike regprocedure, regclass survives pg_upgrade.';
comment on column core.bot_table.place is
    'Parents first: the order to fill the tables in; reversed, to empty them.';
comment on column core.bot_table.is_derived is
    'Whether its rows can be made again from other registered tables: a bot that moves to another
server leaves them behind.';
comment on column core.bot_table.is_audited is
    'Whether each change of its rows has to be on record; false where triggers or maintenance keep
the table.';
comment on column core.bot_table.on_bot_drop is
    'What becomes of the rows of a bot that is dropped. refuse: no bot is dropped over them unless
they may be discarded; delete: they go with it; keep: they stay.';
comment on column core.bot_table.ranged_id is
    'The identity column, if any, whose values no other installation may give out too.';

create function core.bot_tables()
returns setof regclass
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select t.relation
from core.bot_table as t
join pg_class as c on c.oid = t.relation  -- a table may have been dropped since
order by t.place
$func$;

comment on function core.bot_tables() is
    'The tables that hold a bot''s rows, parents first: the order to fill them in; reversed, to
empty.';

create function core.hash_tables()
returns setof regclass
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select t.relation
from core.bot_tables() with ordinality as t (relation, place)
join pg_class as c on c.oid = t.relation
join pg_partitioned_table as p on p.partrelid = t.relation
where p.partstrat = 'h' and c.relnamespace = 'core'::regnamespace
order by t.place
$func$;

comment on function core.hash_tables() is
    'Those of core.bot_tables() that are in schema core and partitioned by hash: each has ten
leaves, which core.make_leaf and core.ensure_leaves make.';
