//! Named filters that replace in snapshots what differs from run to run: ids, instants, tokens, ports, paths, durations.

/// Pattern and replacement, in the order in which they are applied.
const FILTERS: [(&str, &str); 8] =
    [INSTANT, UUID, HASH, TOKEN, LOCAL_ADDRESS, TEST_DATABASE, TEMPORARY_DIRECTORY, DURATION];

const INSTANT: (&str, &str) = (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", "[instant]");
const UUID: (&str, &str) = (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "[uuid]");
const HASH: (&str, &str) = (r"\b[0-9a-f]{64}\b", "[sha-256]");
const TOKEN: (&str, &str) = (r"\bco_[A-Za-z0-9_-]{16,}", "[token]");
const LOCAL_ADDRESS: (&str, &str) = (r"127\.0\.0\.1:\d+", "127.0.0.1:[port]");
const TEST_DATABASE: (&str, &str) = (r"changeover_test_\d+_\d+", "[database]");
const TEMPORARY_DIRECTORY: (&str, &str) = (r"(/[\w.-]+)*/\.tmp[A-Za-z0-9]{6}\b", "[directory]");
const DURATION: (&str, &str) = (r"\b\d+(\.\d+)? ?(µs|ms|s)\b", "[duration]");

/// Insta's settings with every filter; bind them around a snapshot: `redactions::settings().bind(|| assert_snapshot!(…))`.
pub fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    for (pattern, replacement) in FILTERS {
        settings.add_filter(pattern, replacement);
    }
    settings.set_prepend_module_to_snapshot(false);
    settings
}

#[test]
fn what_differs_from_run_to_run_is_replaced() {
    let text = "2026-11-22T10:00:00.25Z 0190b3a4-7c1e-7a51-9d5f-0123456789ab took 12.5 ms at 127.0.0.1:41234 in /tmp/.tmpAb3dE9/test.db";
    settings().bind(|| {
        insta::assert_snapshot!(text, @"[instant] [uuid] took [duration] at 127.0.0.1:[port] in [directory]/test.db");
    });
}
