//! `changeover flag history`, `diff` and `restore`.

use super::{Output, table};
use crate::flags::Difference;
use crate::flags::words::change_text;
use crate::http::api::history::{read_diff, read_page};
use crate::primitives::FlagKey;
use crate::store::{PageRequest, Store};

pub fn history(store: &Store, output: &Output, key: &FlagKey, after: Option<i64>) -> anyhow::Result<()> {
    let request = PageRequest { after: after.map(|version| version.to_string()), limit: None };
    let page = store.read(|conn| read_page(conn, key, &request))?;
    let rows = page.items.iter().map(|version| {
        let changes = match &version.flag {
            Some(_) if version.changes.iter().any(|change| change.at.is_empty()) => String::from("(created)"),
            Some(_) => changes_text(&version.changes),
            None => String::from("(removed)"),
        };
        let (at, reason) = (version.at.to_string(), version.reason.clone());
        vec![version.version.to_string(), at, version.actor.clone(), reason, changes]
    });
    let text = table(&["version", "at", "by", "reason", "what changed"], rows);
    if let Some(next) = &page.next {
        output.note(&format!("There are older versions: --before {next}"));
    }
    output.result(&page, &text);
    Ok(())
}

pub fn diff(store: &Store, output: &Output, key: &FlagKey, versions: (Option<i64>, Option<i64>)) -> anyhow::Result<()> {
    let diff = store.read(|conn| read_diff(conn, key, versions.0, versions.1))?;
    let text = if diff.changes.is_empty() {
        format!("{key} is the same at version {} and at version {}", diff.from, diff.to)
    } else {
        format!("{key}, version {} → {}\n{}", diff.from, diff.to, changes_text(&diff.changes))
    };
    output.result(&diff, &text);
    Ok(())
}

fn changes_text(changes: &[Difference]) -> String {
    let lines: Vec<String> = changes.iter().map(change_text).collect();
    if lines.is_empty() { String::from("(nothing)") } else { lines.join("\n") }
}
