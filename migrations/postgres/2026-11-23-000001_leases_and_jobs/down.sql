DROP TABLE svc_changeover_jobs;
DROP TABLE svc_changeover_leases;
