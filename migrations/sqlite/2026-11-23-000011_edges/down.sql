DROP TABLE svc_changeover_edges;
