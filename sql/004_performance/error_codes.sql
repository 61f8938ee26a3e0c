-- Error codes MB301 and MB302.

insert into core.error_code (code, name, meaning, remedy) values
    ('MB301', 'unknown_task',       'There is no maintenance task of this name.',
        'select task, description from performance.task lists them.'),
    ('MB302', 'maintenance_failed', 'A maintenance task failed; what the others did is kept.',
        'Read error in performance.task, mend it, then run the task again.');
