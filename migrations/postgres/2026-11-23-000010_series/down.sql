DROP TABLE svc_changeover_series;
