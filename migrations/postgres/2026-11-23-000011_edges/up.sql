-- Which copy of the application serves whom: what is set for a change's edge, and whether visitors are kept out of it now.
CREATE TABLE svc_changeover_edges (
    change_name TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    version     BIGINT NOT NULL,
    data        TEXT   NOT NULL,
    maintenance TEXT,
    updated_at  BIGINT NOT NULL,
    updated_by  TEXT   NOT NULL
);
