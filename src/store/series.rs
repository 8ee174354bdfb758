//! What charts show: a value for each five minutes of the last day, and for each hour of the last month. A level that is written again
//! within its stretch of time replaces the one before; a count is added to it. What is older is pruned, so the table stays small.

use serde_json::{Value as JsonValue, json};

use super::StoreError;
use crate::database::{DatabaseConnection, Dialect, Value};
use crate::primitives::Instant;

const MINUTE: i64 = 60 * 1_000_000;
const HOUR: i64 = 60 * MINUTE;

/// How close the values of a chart stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Five minutes, for a day.
    Fine,
    /// An hour, for thirty days.
    Coarse,
}

impl Step {
    pub const ALL: [Self; 2] = [Self::Fine, Self::Coarse];

    /// Its length.
    #[must_use]
    pub fn micros(self) -> i64 {
        match self {
            Self::Fine => 5 * MINUTE,
            Self::Coarse => HOUR,
        }
    }

    /// How long its values are kept.
    #[must_use]
    pub fn kept_micros(self) -> i64 {
        match self {
            Self::Fine => 24 * HOUR,
            Self::Coarse => 30 * 24 * HOUR,
        }
    }
}

/// What is told of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Of a change: target rows that differ.
    Drift,
    /// Of a change: keys that wait to be translated.
    Pending,
    /// Of a change: groups that are recorded on a side in the newest period.
    OnOld,
    OnNew,
    /// Of a flag: evaluations in the stretch of time, by all servers together.
    Evaluations,
}

impl Measure {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::Pending => "pending",
            Self::OnOld => "on_old",
            Self::OnNew => "on_new",
            Self::Evaluations => "evaluations",
        }
    }
}

/// A value that was read just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// `change/NAME` or `flag/KEY`.
    pub subject: String,
    pub measure: Measure,
    pub value: i64,
}

/// What a value does to the one that stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// It is how much there is now.
    Level,
    /// It is how much more there was.
    Count,
}

/// Writes readings of a moment, into both steps.
pub fn write(
    connection: &mut DatabaseConnection,
    readings: &[Reading],
    writing: Writing,
    at: Instant,
) -> Result<(), StoreError> {
    if readings.is_empty() {
        return Ok(());
    }
    let source = match connection.dialect() {
        Dialect::Postgres => "json_array_elements(CAST($3 AS json)) AS g(value)",
        Dialect::Sqlite => "json_each($3) AS g",
    };
    let sum = match writing {
        Writing::Level => "excluded.value",
        Writing::Count => "s.value + excluded.value",
    };
    let sql = format!(
        "INSERT INTO svc_changeover_series AS s (step, at, subject, measure, value)
         SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), g.value ->> 0, g.value ->> 1, CAST(g.value ->> 2 AS BIGINT) FROM {source} WHERE true
         ON CONFLICT (subject, measure, step, at) DO UPDATE SET value = {sum}"
    );
    // In one order, so that two servers never wait for each other.
    let mut readings: Vec<&Reading> = readings.iter().collect();
    readings.sort_by(|one, other| {
        (one.subject.as_str(), one.measure.as_str()).cmp(&(other.subject.as_str(), other.measure.as_str()))
    });
    let rows: Vec<JsonValue> =
        readings.iter().map(|reading| json!([reading.subject, reading.measure.as_str(), reading.value])).collect();
    let rows = JsonValue::Array(rows).to_string();
    for step in Step::ALL {
        let at = at.as_micros() - at.as_micros().rem_euclid(step.micros());
        connection.execute(&sql, &[Value::from(step.micros()), Value::from(at), Value::from(rows.as_str())])?;
    }
    Ok(())
}

/// Forgets what is older than it is kept.
pub fn prune(connection: &mut DatabaseConnection, now: Instant) -> Result<(), StoreError> {
    for step in Step::ALL {
        let before = now.as_micros() - step.kept_micros();
        let sql = "DELETE FROM svc_changeover_series WHERE step = $1 AND at < $2";
        connection.execute(sql, &[Value::from(step.micros()), Value::from(before)])?;
    }
    Ok(())
}

/// The values of a measure, the oldest first, each with where its stretch of time begins.
pub fn list(
    connection: &mut DatabaseConnection,
    subject: &str,
    measure: Measure,
    step: Step,
) -> Result<Vec<(Instant, i64)>, StoreError> {
    let sql =
        "SELECT at, value FROM svc_changeover_series WHERE subject = $1 AND measure = $2 AND step = $3 ORDER BY at";
    let values = [Value::from(subject), Value::from(measure.as_str()), Value::from(step.micros())];
    let rows = connection.query(sql, &values)?;
    rows.iter().map(|row| Ok((Instant::from_micros(row.integer("at")?), row.integer("value")?))).collect()
}
