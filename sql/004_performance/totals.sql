-- Where the totals of each bot are kept.

create table performance.bot_total (
    bot_id            bigint       not null,
    contacts          bigint       not null,
    conversations     bigint       not null,
    messages_in       bigint       not null,
    messages_out      bigint       not null,
    messages_7_days   bigint       not null,
    messages_30_days  bigint       not null,
    last_message_at   timestamptz,
    rolled_up_at      timestamptz  not null,

    constraint bot_total_pk primary key (bot_id)
);

comment on table performance.bot_total is
    'What each bot has in all, as of its last roll-up: nobody counts messages to tell.';
comment on column performance.bot_total.contacts is 'Rows in core.girls_profiles.';
comment on column performance.bot_total.conversations is
    'The sum over the days of core.bot_metrics, as are the messages.';
comment on column performance.bot_total.messages_7_days is
    'In and out, on the day of rolled_up_at (UTC) and the six days before.';
comment on column performance.bot_total.messages_30_days is
    'The same with the 29 days before.';
comment on column performance.bot_total.rolled_up_at is 'When these numbers were made.';

insert into core.bot_table (relation, is_derived, is_audited, on_bot_drop)
values ('performance.bot_total', true, false, 'delete');

create table performance.last_roll_up (
    started_at  timestamptz  not null
);

create unique index last_roll_up_one_row on performance.last_roll_up ((true));
comment on index performance.last_roll_up_one_row is 'There is one row.';
comment on table performance.last_roll_up is
    'One row, locked while days are rolled up: two at once would wait for each other''s rows.';
comment on column performance.last_roll_up.started_at is
    '-infinity before the first one, which takes every day.';

insert into performance.last_roll_up (started_at) values ('-infinity');
