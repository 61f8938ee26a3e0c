-- The schema.

create schema performance;

comment on schema performance is
    'Metrics of the bots, rolled up; maintenance; health and what a monitoring system reads.';
