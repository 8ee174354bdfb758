DROP TABLE svc_changeover_flag_usage;
