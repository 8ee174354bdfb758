-- What charts show: a value for each five minutes of a day, and for each hour of a month.
CREATE TABLE svc_changeover_series (
    subject TEXT COLLATE "C" NOT NULL,
    measure TEXT COLLATE "C" NOT NULL,
    step BIGINT NOT NULL,
    at BIGINT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (subject, measure, step, at)
);
CREATE INDEX svc_changeover_series_at ON svc_changeover_series (step, at);
