-- The two schemas.

create schema audit;
create schema audit_partitions;

comment on schema audit is 'Who changed what: the log, what writes it, its seals and its end.';
comment on schema audit_partitions is 'The months of audit.security_audit_log.';
