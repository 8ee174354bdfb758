DROP TABLE svc_changeover_sessions;
