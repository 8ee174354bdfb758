//! Reads an upload of cohort ids: plain lines, CSV or NDJSON. Pure: bytes in, ids and a receipt out.
