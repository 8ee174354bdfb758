//! The tables that hold the recorded side of each (group, period), as SQL text. What writes them is `routing`.

use super::names::own;
use crate::primitives::Dialect;

/// Statements that create `assignment` and its append-only `assignment_history`.
///
/// `assignment` holds what is in force. A row of the history holds both images of one later change (a move or a release), so that
/// a million groups assigned for a period cost a million rows, not two.
#[must_use]
pub fn create(dialect: Dialect) -> Vec<String> {
    let assignment = own(dialect, "assignment");
    let history = own(dialect, "assignment_history");
    let (group_id, id, table_end) = match dialect {
        // Ids sort by bytes, as on SQLite and in Rust, and faster than by the rules of a language.
        Dialect::Postgres => ("TEXT COLLATE \"C\"", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", ""),
        Dialect::Sqlite => ("TEXT", "INTEGER PRIMARY KEY AUTOINCREMENT", " WITHOUT ROWID"),
    };
    let mut statements = vec![
        format!(
            "CREATE TABLE {assignment} (
  change TEXT NOT NULL,
  period TEXT NOT NULL,
  group_id {group_id} NOT NULL,
  side TEXT NOT NULL CHECK (side IN ('old', 'new')),
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  flag_version BIGINT,
  PRIMARY KEY (change, period, group_id)
){table_end}"
        ),
        format!(
            "CREATE TABLE {history} (
  id {id},
  change TEXT NOT NULL,
  period TEXT NOT NULL,
  group_id {group_id} NOT NULL,
  action TEXT NOT NULL CHECK (action IN ('move', 'release')),
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL,
  side TEXT NOT NULL CHECK (side IN ('old', 'new')),
  before_side TEXT CHECK (before_side IN ('old', 'new')),
  before_at BIGINT,
  before_actor TEXT,
  before_reason TEXT,
  before_flag_version BIGINT
)"
        ),
        format!("CREATE INDEX {index} ON {history} (change, group_id, period)", index = history_index(dialect)),
    ];
    statements.extend(keep_history(dialect, &history));
    statements
}

/// Statements that remove what [`create`] made.
#[must_use]
pub fn drop(dialect: Dialect) -> Vec<String> {
    let mut statements = vec![
        format!("DROP TABLE IF EXISTS {}", own(dialect, "assignment_history")),
        format!("DROP TABLE IF EXISTS {}", own(dialect, "assignment")),
    ];
    if dialect == Dialect::Postgres {
        statements.push(format!("DROP FUNCTION IF EXISTS {}()", own(dialect, "assignment_history_is_append_only")));
    }
    statements
}

/// An index is named without its schema on PostgreSQL: it lives in its table's.
fn history_index(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "assignment_history_by_group",
        Dialect::Sqlite => "changeover_assignment_history_by_group",
    }
}

/// Triggers that refuse to change or delete a row of the history, whoever tries.
fn keep_history(dialect: Dialect, history: &str) -> Vec<String> {
    let refusal = "the history of assignments is append-only";
    match dialect {
        Dialect::Postgres => {
            let function = own(dialect, "assignment_history_is_append_only");
            vec![
                format!(
                    "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS \
                     $$BEGIN RAISE EXCEPTION '{refusal}'; END$$"
                ),
                format!(
                    "CREATE TRIGGER changeover_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {history} \
                     FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
                ),
            ]
        }
        Dialect::Sqlite => ["UPDATE", "DELETE"]
            .into_iter()
            .map(|event| {
                let name = own(dialect, &format!("assignment_history_no_{}", event.to_lowercase()));
                format!("CREATE TRIGGER {name} BEFORE {event} ON {history} BEGIN SELECT RAISE(ABORT, '{refusal}'); END")
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_created_is_dropped() {
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            let dropped = drop(dialect).join("\n");
            for statement in create(dialect) {
                let mut words = statement.split_whitespace().skip(1);
                let (kind, name) = (words.next().unwrap(), words.next().unwrap());
                // An index or a trigger goes with its table.
                if matches!(kind, "TABLE" | "FUNCTION") {
                    assert!(dropped.contains(&format!("DROP {kind} IF EXISTS {name}")), "{kind} {name}: {dropped}");
                }
            }
        }
    }
}
