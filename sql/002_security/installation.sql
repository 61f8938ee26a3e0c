-- Which installation this database is: a random id, and the database that it lives in.

create table security.installation (
    installation_id  uuid         not null default gen_random_uuid(),
    database_oid     oid          not null,
    settled_at       timestamptz  not null default now(),

    constraint installation_pk primary key (installation_id)
);

create unique index installation_one_idx on security.installation ((true));

comment on index security.installation_one_idx is 'There is one row.';

comment on table security.installation is
    'One row: this installation. ALTER DATABASE … RENAME keeps its id and the oid; a restore and a
clone take the id along, into a database of another oid.';
comment on column security.installation.installation_id is
    'Random, drawn once; every login that is made here bears it in its mark.';
comment on column security.installation.database_oid is
    'pg_database.oid of the database where the installation was made, or where claim_logins was
last called.';
comment on column security.installation.settled_at is 'When that was.';

insert into security.installation (database_oid)
select oid from pg_database where datname = current_database();
