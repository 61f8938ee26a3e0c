-- The inventory, part 4: rows on which promises rest.

create table security.inventoried_table (
    relation          regclass  not null,
    key_columns       name[]    not null,
    operator_columns  name[]    not null default '{}',

    constraint inventoried_table_pk primary key (relation)
);

comment on table security.inventoried_table is
    'Tables whose rows the inventory lists: hooks, registries, codes. A migration adds its own by
security.inventory_rows, and removes them again.';
comment on column security.inventoried_table.relation is 'The table.';
comment on column security.inventoried_table.key_columns is 'They name a row.';
comment on column security.inventoried_table.operator_columns is
    'What an operator may set, or what is noted there: no part of a row''s definition.';

create function security.inventory_rows(
    p_table             regclass,
    p_key_columns       name[],
    p_operator_columns  name[] default '{}'
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    insert into security.inventoried_table (relation, key_columns, operator_columns)
    values (p_table, p_key_columns, p_operator_columns);
    perform security.grant_to_provisioner(format('select on %s', p_table));
end
$func$;

comment on function security.inventory_rows(regclass, name[], name[]) is
    'For migrations: from here on the inventory lists the rows of a table, named by p_key_columns,
without p_operator_columns.';

create function security.row_facts()
returns table (kind text, object text, definition text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_table        record;
    -- called otherwise in each installation
    v_provisioner  text := coalesce(security.provisioner()::text, '');
begin
    for v_table in
        select t.*
        from security.inventoried_table as t
        where exists (select from pg_class where oid = t.relation)
    loop
        return query execute format(
            'select ''row'', format(''%%s of %%s'', (select string_agg(r ->> u.k, '', '' order by '
            'u.place) from unnest($2::text[]) with ordinality as u (k, place)), $1), '
            'replace((r - $2::text[] - $3::text[])::text, $4, ''the provisioner'') '
            'from (select to_jsonb(t) from %s as t) as j (r)',
            v_table.relation)
        using v_table.relation::text, v_table.key_columns, v_table.operator_columns,
              v_provisioner;
    end loop;
end
$func$;

comment on function security.row_facts() is
    'The rows of the tables in security.inventoried_table, one fact each: (kind, object,
definition).';
