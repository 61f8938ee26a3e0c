-- The trigger's source text for UPDATE.

create function audit.update_columns(p_table regclass, p_policy text)
returns table (place integer, name name, is_key boolean, is_logged boolean, was text, now text,
               differs text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select o.place, o.name, o.is_key, o.mark <> 'derived', o.value,
       case p_policy when 'keys' then null else n.value end,
       -- compared as images: what is equal in another form (1.0 and 1.00) did change
       format(case when o.is_exact then 'o.%1$I is distinct from n.%1$I'
                   else 'record_image_ne(row(o.%1$I), row(n.%1$I))' end, o.name)
from audit.captured_columns(p_table, 'o') as o
join audit.captured_columns(p_table, 'n') as n using (place)
$func$;

comment on function audit.update_columns(regclass, text) is
    'SQL for each column of a table in an UPDATE: (place, name, is_key, is_logged, was, now,
differs), of a row o before and n after. now is null under policy keys: it stands in the row only.';

create function audit.update_parts(p_table regclass, p_policy text)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select jsonb_build_object(
    'bot', coalesce(max('coalesce(o.bot_id, 0)') filter (where name = 'bot_id'), '0::bigint'),
    'key', audit.key_sql(p_table, 'o'),
    'block', audit.block_sql('p.audit_weight'),
    'weight', e',\n               ' || audit.weight_sql(p_table, 'o')
              || case p_policy when 'keys' then '' else ' + ' || audit.weight_sql(p_table, 'n') end
              || ' as audit_weight',
    'one_key', coalesce(string_agg(format('%L, v_row.o_%s', name, place), ', ' order by place)
                        filter (where is_key and name <> 'bot_id'), ''),
    'row_key', coalesce(string_agg(format('%L, p.o_%s', name, place), ', ' order by place)
                        filter (where is_key and name <> 'bot_id'), ''),
    'row_keys', coalesce(string_agg(format('%L, array_to_json(array_agg(p.o_%s))', name, place),
                                    ', ' order by place)
                         filter (where is_key and name <> 'bot_id'), ''),
    'differs', string_agg(format('p.c_%s', place), ' or ' order by place) filter (where is_logged),
    'columns', string_agg(format('%s as o_%s, %s%s as c_%s', was, place,
                                 now || format(' as n_%s, ', place), differs, place),
                          e',\n               ' order by place)
               || case p_policy when 'keys'
                  then format(e',\n               %s as audit_digest',
                              audit.row_digest_sql(p_table, 'n'))
                  else '' end)
from audit.update_columns(p_table, p_policy)
$func$;

comment on function audit.update_parts(regclass, text) is
    'The parts of audit.update_source that both sides have in common; of a column, o_<place> and
n_<place> are what it was and is, c_<place> whether it changed.';

create function audit.update_sides(p_table regclass, p_policy text)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
-- with as few calls as can be: the server looks each up whenever the statement starts
with piece as (
    select place, side,
           format('case when p.c_%1$s then %2$L end, '
                  'case when p.c_%1$s then coalesce(to_json(%3$s), ''null'') end',
                  place, ',' || to_json(name) || ':', value) as one,
           format('case when bool_or(p.c_%1$s) then %2$L end, case when bool_or(p.c_%1$s) then '
                  'array_to_json(array_agg(case when p.c_%1$s then %3$s end)) end',
                  place, ',' || to_json(name) || ':', value) as many
    from audit.update_columns(p_table, p_policy)
    cross join lateral (
        values ('o', format('p.o_%s', place)),
               ('n', case when now is null then '''[in the row]''::text'
                          else format('p.n_%s', place) end)
    ) as v (side, value)
    where is_logged
    union all
    select 0, 'n', ''',"*":'', to_json(p.audit_digest)',
           ''',"*":'', array_to_json(array_agg(p.audit_digest))'
    where p_policy = 'keys'
)
select jsonb_object_agg('row_' || side, ones) || jsonb_object_agg('rows_' || side, manys)
from (
    select side, string_agg(e'\n            ' || one, ',' order by place) as ones,
           string_agg(e'\n            ' || many, ',' order by place) as manys
    from piece
    group by side
) as s
$func$;

comment on function audit.update_sides(regclass, text) is
    'The parts of audit.update_source that say what changed: row_o, row_n, rows_o, rows_n.';

create function audit.update_changes(p_table regclass, p_policy text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
-- with || rather than concat, which looks up how each of its arguments is written
select string_agg(format($source$
        if v_row.c_%1$s then
            v_old := v_old || %2$L || coalesce(to_json(v_row.o_%1$s), 'null')::text;
            v_new := v_new || %3$s;
        end if;$source$, place, c.name,
           case when now is null then quote_literal(c.name || '"[in the row]"')
                else format('%L || coalesce(to_json(v_row.n_%s), ''null'')::text', c.name, place)
           end), '' order by place)
       || case p_policy when 'keys' then $source$
        v_new := v_new || ',"*":"' || v_row.audit_digest || '"';$source$ else '' end
from audit.update_columns(p_table, p_policy) as u
cross join lateral (select ',' || to_json(u.name) || ':') as c (name)
where is_logged
$func$;

comment on function audit.update_changes(regclass, text) is
    'The part of audit.update_source that appends the columns of v_row that changed to v_old and
v_new.';

create function audit.update_of_one_row()
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $func$
-- in two steps: in one statement the server would prepare JSON of each column, changed or not
values ($source$
    select {bot} as audit_bot, {key} as audit_key,
               {columns}
    into v_row
    from old_rows as o, new_rows as n
    where not exists (select from old_rows offset 1);
    if found then{changes}
        if v_old <> '' then
            insert into audit.security_audit_log (
                occurred_at, operation, table_name, bot_id, first_key, last_key, row_keys,
                old_values, new_values)
            values (
                v_at, {operation}, {table}, v_row.audit_bot, v_row.audit_key, v_row.audit_key,
                json_build_object({one_key}), ('{' || substr(v_old, 2) || '}')::json,
                ('{' || substr(v_new, 2) || '}')::json);
        end if;
        return null;
    end if;
    if not exists (select from old_rows) then
        return null;
    end if;
$source$)
$func$;

comment on function audit.update_of_one_row() is
    'The template of audit.update_source for an UPDATE of one row, by far the most frequent, and of
none.';

create function audit.update_source(p_table regclass, p_policy text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with template (pairs) as (
    values ($source$
        select {bot} as audit_bot, {key} as audit_key,
               {columns}{weight}
        from (select r.*, row_number() over () as audit_row from old_rows as r) as o
        -- full join: a plan that was made for few rows must not be a nested loop
        full join (select r.*, row_number() over () as audit_row from new_rows as r) as n
            using (audit_row)
        offset 0
    ) as p$source$)
)
select audit.fill_source(p_table, 'UPDATE', audit.update_of_one_row() || $source$
    insert into audit.security_audit_log (
        occurred_at, operation, table_name, bot_id, first_key, last_key, row_keys, old_values,
        new_values)
    select v_at, {operation}, {table}, p.audit_bot, p.audit_key, p.audit_key,
        json_build_object({row_key}),
        ('{' || substr(concat({row_o}), 2) || '}')::json,
        ('{' || substr(concat({row_n}), 2) || '}')::json
    from ($source$ || replace(pairs, '{weight}', '') || $source$
    where not exists (select from old_rows offset 8) and ({differs});
    if found then
        return null;
    end if;

    insert into audit.security_audit_log (
        occurred_at, operation, table_name, bot_id, first_key, last_key, is_block, row_count,
        row_keys, old_values, new_values)
    select v_at, {operation}, {table}, p.audit_bot, min(p.audit_key), max(p.audit_key), true,
        count(*), json_build_object({row_keys}),
        ('{' || substr(concat({rows_o}), 2) || '}')::json,
        ('{' || substr(concat({rows_n}), 2) || '}')::json
    from (
        select p.*, {block} as audit_block
        from ($source$ || pairs || $source$
        where {differs}
    ) as p
    group by p.audit_block, p.audit_bot;$source$,
    audit.update_parts(p_table, p_policy) || audit.update_sides(p_table, p_policy)
    || jsonb_build_object('changes', audit.update_changes(p_table, p_policy), 'variables', $source$
    v_row  record;
    v_old  text := '';
    v_new  text := '';$source$))
from template
$func$;

comment on function audit.update_source(regclass, text) is
    'Body of the function that records UPDATE on a table: changed columns only; rows that stayed the
same, or changed in derived columns only, are left out.';
