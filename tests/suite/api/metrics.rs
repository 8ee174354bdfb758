//! `/metrics`: the reference is what the program has, and a server tells of its changes.

use std::fmt::Write;

use changeover::change::Stage;
use changeover::http::metrics::catalogue::ALL;

use crate::support::{Server, assert_generated, each_database};
use crate::translation::fixture::installed;

const HEAD: &str = "# Metrics

<!-- Generated from the program by `CHANGEOVER_UPDATE=1 cargo test`; do not edit. -->

`GET /metrics` answers in Prometheus's text format. Labels are bounded: flags, cohorts, changes and blocks that exist, routes and
classes that the program knows; never users, keys or paths. What is told of changes is read from the application's database every
few seconds, by each server for itself; `changeover_overview_age_seconds` says how long ago, and what it says stays as it was while
that database is away. `block` is the block's name (`f1`, `b2`, …), `into` its target.

| metric | kind | labels | meaning |
|---|---|---|---|
";

#[test]
fn the_reference_of_metrics_is_up_to_date() {
    let mut page = String::from(HEAD);
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        writeln!(page, "| `{}` | {} | {labels} | {} |", metric.name, metric.kind.as_str(), metric.help).unwrap();
    }
    assert_generated("docs/reference/metrics.md", &page);
}

#[test]
fn a_name_says_whose_it_is_and_what_it_counts() {
    for metric in ALL {
        assert!(metric.name.starts_with("changeover_"), "{}", metric.name);
        assert_eq!(metric.kind.as_str() == "counter", metric.name.ends_with("_total"), "{}", metric.name);
        assert_eq!(ALL.iter().filter(|other| other.name == metric.name).count(), 1, "{}", metric.name);
    }
}

#[test]
fn a_server_tells_of_its_changes() {
    each_database(|database| {
        let installed = installed(database, Stage::Shadow);
        let server = Server::start(&installed.database);
        let page = loop {
            let page = server.send("GET", "/metrics", &[], None).body;
            if page.contains("changeover_overview_age_seconds") {
                break page;
            }
        };
        let expected = [
            r#"changeover_stage{change="billing-allocation",stage="shadow"} 1"#,
            r#"changeover_stage{change="billing-allocation",stage="live"} 0"#,
            r#"changeover_paused{change="billing-allocation"} 0"#,
            r#"changeover_pending_keys{change="billing-allocation",block="f1",into="accounts"} 0"#,
            r#"changeover_backfill_keys{change="billing-allocation",block="f3",into="video_accounts"} 6"#,
            r#"changeover_backfill_finished{change="billing-allocation",block="f3",into="video_accounts"} 1"#,
            "changeover_translation_errors_total 0",
        ];
        for line in expected {
            assert!(page.lines().any(|found| found == line), "{}: {line}\n{page}", installed.database.dialect());
        }
        for name in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = name.split(' ').next().unwrap();
            assert!(ALL.iter().any(|metric| metric.name == name), "{name} is not in the catalogue");
        }
    });
}
