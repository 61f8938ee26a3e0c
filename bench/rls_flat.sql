-- Puts tables without partitions in the place of those of core: same columns, indexes, triggers and
-- foreign keys, the rows in the order in which they came, no row level security.

create schema aside;

do $flat$
declare
    v_tables    regclass[] := array(select core.hash_tables());
    v_table     regclass;
    v_name      text;
    v_triggers  text[];
    v_trigger   text;
    v_key       record;
    v_chats     text := pg_get_viewdef('core.chats'::regclass);
begin
    drop view core.chats;
    foreach v_table in array v_tables loop
        select relname into v_name from pg_class where oid = v_table;
        v_triggers := array(
            select pg_get_triggerdef(oid) from pg_trigger
            where tgrelid = v_table and not tgisinternal);
        execute format('alter table %s set schema aside', v_table);
        execute format('create table core.%I (like aside.%1$I including all) '
                       'with (fillfactor = %s)', v_name,
                       case v_name when 'conversations' then 80 else 100 end);
        execute format(
            'insert into core.%I overriding system value select * from aside.%1$I order by %s',
            v_name, case v_name when 'bots' then 'bot_id' when 'bot_metrics' then 'day, bot_id'
                    when 'messages' then 'message_id' else 'profile_id' end);
        foreach v_trigger in array v_triggers loop
            execute v_trigger;
        end loop;
    end loop;
    for v_key in select * from core.foreign_keys() loop
        execute format('alter table core.%I add foreign key (%s) references core.%I (%s)',
                       v_key.child, v_key.key_columns, v_key.parent, v_key.parent_columns);
    end loop;
    execute 'create view core.chats as ' || v_chats;
    perform setval(pg_get_serial_sequence('core.messages', 'message_id'), max(message_id))
    from core.messages;
end
$flat$;

drop schema aside cascade;
grant select, insert, update on all tables in schema core to app_bot, app_upkeep;
