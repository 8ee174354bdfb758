//! The triggers that a change puts on the application's tables on PostgreSQL: one for each direction, source table and event, on the
//! table itself and on every partition of it.

use crate::change::Direction;

use super::model::{ChangeModel, Event, TableModel};
use super::names::quoted;

/// What a statement's rows are called, by event.
pub trait TransitionTables {
    fn transition_tables(self) -> &'static str;
    fn with_changed(self) -> &'static str;
    fn nothing_changed(self) -> &'static str;
}

impl TransitionTables for Event {
    fn transition_tables(self) -> &'static str {
        match self {
            Self::Insert => "NEW TABLE AS changed",
            Self::Update => "OLD TABLE AS changed_old NEW TABLE AS changed_new",
            Self::Delete => "OLD TABLE AS changed",
        }
    }

    /// A `WITH` that makes `changed` mean the old and the new rows where the event has both.
    fn with_changed(self) -> &'static str {
        match self {
            Self::Insert | Self::Delete => "",
            Self::Update => "WITH changed AS (SELECT * FROM changed_old UNION ALL SELECT * FROM changed_new) ",
        }
    }

    fn nothing_changed(self) -> &'static str {
        match self {
            Self::Insert | Self::Delete => "NOT EXISTS (SELECT 1 FROM changed)",
            Self::Update => "NOT EXISTS (SELECT 1 FROM changed_new)",
        }
    }
}

/// A trigger on one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Unquoted; the same on a partitioned table and on its partitions.
    pub name: String,
    /// The table as SQL: quoted and qualified.
    pub table: String,
    /// The statement that creates it.
    pub create: String,
}

/// The triggers of a direction. Installed once; they take a lock that waits for open writers of the table.
///
/// A statement fires only the triggers of the table that it names, and hands them the rows of every partition that it touched: so the
/// partitioned table and each partition have the same ones.
#[must_use]
pub fn triggers(change: &ChangeModel, direction: Direction) -> Vec<Trigger> {
    let mut triggers = Vec::new();
    for source in change.sources_of(direction) {
        for table in std::iter::once(&source.sql).chain(&source.partitions) {
            let events = Event::ALL.map(|event| row_trigger(change, direction, (&source, table), event));
            triggers.extend(events);
            triggers.push(truncate_trigger(change, direction, (&source, table)));
        }
    }
    triggers
}

fn row_trigger(
    change: &ChangeModel,
    direction: Direction,
    (source, table): (&TableModel, &str),
    event: Event,
) -> Trigger {
    let name = trigger_name(change, direction, source, event.word());
    let create = format!(
        "CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {transition} FOR EACH STATEMENT EXECUTE FUNCTION changeover.{name}()",
        name = quoted(&name),
        event = event.word().to_uppercase(),
        transition = event.transition_tables(),
    );
    Trigger { name, table: table.to_owned(), create }
}

/// Before a TRUNCATE that is refused, after one that is translated.
fn truncate_trigger(change: &ChangeModel, direction: Direction, (source, table): (&TableModel, &str)) -> Trigger {
    let name = trigger_name(change, direction, source, "truncate");
    let when = if change.translates_truncate(direction, source) { "AFTER" } else { "BEFORE" };
    let create = format!(
        "CREATE TRIGGER {name} {when} TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION changeover.{name}()",
        name = quoted(&name),
    );
    Trigger { name, table: table.to_owned(), create }
}

/// Triggers of one table fire in the order of their names. A write goes out to the other model first (`1`), then re-derives
/// within its own (`2`).
#[must_use]
pub fn trigger_name(change: &ChangeModel, direction: Direction, table: &TableModel, word: &str) -> String {
    let turn = if change.goes_out(table, direction) { 1 } else { 2 };
    let (letter, sources) = match direction {
        Direction::Forward => ('f', change.sources_of(Direction::Forward)),
        Direction::Backward => ('b', change.sources_of(Direction::Backward)),
    };
    let number = sources.iter().position(|source| source == table).map_or(0, |position| position + 1);
    format!("changeover_{}_{turn}_{letter}t{number}_{word}", change.stem())
}
