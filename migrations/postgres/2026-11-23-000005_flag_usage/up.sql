-- When each flag was last evaluated, to the minute; servers note it now and then. The row without a key says since when.
CREATE TABLE svc_changeover_flag_usage (
    flag         TEXT   NOT NULL PRIMARY KEY,
    evaluated_at BIGINT NOT NULL
);
