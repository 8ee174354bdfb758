-- What charts show: a value for each five minutes of a day, and for each hour of a month.
CREATE TABLE svc_changeover_series (
    subject TEXT    NOT NULL,
    measure TEXT    NOT NULL,
    step    INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    value   INTEGER NOT NULL,
    PRIMARY KEY (subject, measure, step, at)
) STRICT;
CREATE INDEX svc_changeover_series_at ON svc_changeover_series (step, at);
