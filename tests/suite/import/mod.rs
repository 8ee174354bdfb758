//! Documents of flags: our own, flagd's and Unleash's.

mod flagd;
mod native;
mod odd;
mod unleash;

use std::sync::Arc;

use changeover::flags::import::{Imported, NoteKind};
use changeover::flags::{Cohort, CohortConditions, Context, Evaluation, Flag, Snapshot, VersionedFlag};
use changeover::primitives::{CohortName, Instant};
use serde_json::Value;

/// What was imported, ready to be asked.
fn snapshot(imported: &Imported) -> Snapshot {
    let flags =
        imported.flags.iter().map(|draft| VersionedFlag { flag: Flag::try_from(draft.clone()).unwrap(), version: 1 });
    let cohorts = imported.cohorts.iter().map(|cohort| {
        let conditions = CohortConditions::try_from(cohort.conditions.clone()).unwrap();
        let name = CohortName::new(&cohort.name).unwrap();
        Arc::new(Cohort::new(name, 1, Vec::<&str>::new().iter().collect()).with_conditions(conditions))
    });
    Snapshot::build(1, Instant::from_micros(0), flags.collect(), cohorts.collect())
}

/// The variant that a flag serves to a context at a time; `!` and a code where it serves none.
fn ask(snapshot: &Snapshot, flag: &str, context: &Value, now: &str) -> String {
    let context = Context::from_json(context.clone()).unwrap();
    match snapshot.evaluate(flag, &context, Instant::parse(now).unwrap()) {
        Evaluation::Served(served) => served.variant.name.to_string(),
        Evaluation::Failed(failure) => format!("!{}", failure.code()),
    }
}

const NOW: &str = "2026-11-23T00:00:00Z";

/// Flag and text of the notes of one kind.
fn notes(imported: &Imported, kind: NoteKind) -> Vec<(String, String)> {
    let notes = imported.notes.iter().filter(|note| note.kind == kind);
    notes.map(|note| (note.flag.clone(), note.to_string())).collect()
}

/// Panics unless exactly these flags were left out, each with this text in its note.
#[track_caller]
fn assert_left_out(imported: &Imported, expected: &[(&str, &str)]) {
    let found = notes(imported, NoteKind::LeftOut);
    for (flag, text) in expected {
        let note = found.iter().find(|(found, note)| found == flag && note.contains(text));
        assert!(note.is_some(), "{flag} was not left out for {text:?}: {found:#?}");
        assert!(imported.flags.iter().all(|draft| draft.key != *flag), "{flag} was imported all the same");
    }
    let unexpected = found.iter().find(|(found, _)| expected.iter().all(|(flag, _)| flag != found));
    assert_eq!(unexpected, None);
}
