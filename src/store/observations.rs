//! Observations that applications post: counted by minute and hour, mismatches kept as samples. Written in batches, a statement a table.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;
use serde_json::{Value as JsonValue, json};

use super::observation_rules::{self, StoredRule};
use super::{Store, StoreError, hexadecimal, new_id, now};
use crate::database::{DatabaseConnection, Dialect, Value};
use crate::observations::{
    Counts, Json, Kind, Measure, Observation, ObservationSummary, Outcome, Rule, Rules, Verdict, compare,
};
use crate::primitives::{ChangeName, FlagKey, Instant};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// Minutes become hours after so long.
const MINUTES_KEPT: i64 = 6 * HOUR;
const HOURS_KEPT: i64 = 30 * 24 * HOUR;
const IDS_KEPT: i64 = 48 * HOUR;
/// An observation may come so late.
const LATE_MAX: i64 = 24 * HOUR;
const EARLY_MAX: i64 = 5 * MINUTE;
/// Operations of a subject; what further ones observe counts as [`OTHER`].
const OPERATIONS_MAX: usize = 200;
const OTHER: &str = "other";
/// Samples of one place, and of all places of an operation.
const SAMPLES_OF_PLACE: i64 = 20;
const SAMPLES_MAX: i64 = 500;
const SHOWN_MAX: usize = 4_096;

/// What observations are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(String);

impl Subject {
    #[must_use]
    pub fn change(name: &ChangeName) -> Self {
        Self(format!("change/{name}"))
    }

    #[must_use]
    pub fn flag(key: &FlagKey) -> Self {
        Self(format!("flag/{key}"))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Posted {
    /// Counted now.
    pub accepted: u64,
    /// Counted before: their ids are known.
    pub repeated: u64,
    pub compared: u64,
    pub mismatches: u64,
    pub ignored: u64,
    pub errors_old: u64,
    pub errors_new: u64,
    /// Lines that are not taken, and why.
    pub refused: Vec<RefusedLine>,
}

/// A line that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedLine {
    /// From 1.
    pub line: usize,
    pub detail: String,
}

/// A mismatch that is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    pub id: String,
    pub operation: String,
    /// Where both differ.
    pub path: String,
    pub at: Instant,
    /// Both sides, with what rules hide hidden.
    pub data: JsonValue,
}

/// The counts of an operation in a minute or an hour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    pub at: Instant,
    #[serde(flatten)]
    pub summary: ObservationSummary,
}

/// Compares and counts a batch in one transaction.
pub fn post(store: &Store, subject: &Subject, batch: &[(usize, Observation)]) -> Result<Posted, StoreError> {
    store.write(|connection| post_in_transaction(connection, subject, batch))
}

fn post_in_transaction(
    connection: &mut DatabaseConnection,
    subject: &Subject,
    batch: &[(usize, Observation)],
) -> Result<Posted, StoreError> {
    let at = now().as_micros();
    let mut tally = Tally::new(connection, subject, at)?;
    let fresh = note_ids(connection, subject, batch, at)?;
    let mut seen = HashSet::new();
    for (line, one) in batch {
        let observed_at = one.at.map_or(at, |instant| Instant::from(instant).as_micros());
        if observed_at < at - LATE_MAX || observed_at > at + EARLY_MAX {
            let detail = String::from("`at` is more than a day ago, or in the future");
            tally.posted.refused.push(RefusedLine { line: *line, detail });
            continue;
        }
        let is_fresh = one.id.as_ref().is_none_or(|id| fresh.contains(id) && seen.insert(id.clone()));
        if is_fresh {
            tally.count(one, observed_at)?;
        } else {
            tally.posted.repeated += 1;
        }
    }
    tally.write(connection)?;
    Ok(tally.posted)
}

/// Rows of a JSON array, in the dialect's words.
fn rows_of(dialect: Dialect, parameter: &str, columns: &[(&str, &str)]) -> String {
    match dialect {
        Dialect::Postgres => {
            let columns: Vec<String> = columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
            format!("jsonb_to_recordset(CAST({parameter} AS jsonb)) AS r({})", columns.join(", "))
        }
        Dialect::Sqlite => {
            let columns: Vec<String> =
                columns.iter().map(|(name, _)| format!("json_extract(value, '$.{name}') AS {name}")).collect();
            format!("(SELECT {} FROM json_each({parameter})) AS r", columns.join(", "))
        }
    }
}

/// Keeps the ids that are new, and returns them.
fn note_ids(
    connection: &mut DatabaseConnection,
    subject: &Subject,
    batch: &[(usize, Observation)],
    at: i64,
) -> Result<HashSet<String>, StoreError> {
    // In one order, so that two servers wait for each other instead of deadlocking.
    let ids: BTreeSet<&String> = batch.iter().filter_map(|(_, one)| one.id.as_ref()).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let rows: Vec<JsonValue> = ids.iter().map(|id| json!({ "id": id })).collect();
    let sql = format!(
        "INSERT INTO svc_changeover_observation_ids (subject, id, at) SELECT $1, r.id, $2 FROM {} WHERE 1 = 1 ORDER BY r.id \
         ON CONFLICT DO NOTHING RETURNING id",
        rows_of(connection.dialect(), "$3", &[("id", "text")])
    );
    let values = [Value::from(subject.as_str()), Value::from(at), Value::from(json!(rows).to_string())];
    let mut fresh = HashSet::new();
    for row in connection.query(&sql, &values)? {
        fresh.insert(row.text("id")?);
    }
    Ok(fresh)
}

struct Tally<'a> {
    subject: &'a Subject,
    at: i64,
    rules: Vec<StoredRule>,
    operations: HashSet<String>,
    counts: BTreeMap<(i64, String), Counts>,
    samples: Vec<JsonValue>,
    posted: Posted,
}

impl<'a> Tally<'a> {
    fn new(connection: &mut DatabaseConnection, subject: &'a Subject, at: i64) -> Result<Self, StoreError> {
        let sql = "SELECT DISTINCT operation FROM svc_changeover_observation_counts WHERE subject = $1";
        let mut operations = HashSet::new();
        for row in connection.query(sql, &[Value::from(subject.as_str())])? {
            operations.insert(row.text("operation")?);
        }
        let rules = observation_rules::list(connection, subject)?;
        let (counts, samples, posted) = (BTreeMap::new(), Vec::new(), Posted::default());
        Ok(Self { subject, at, rules, operations, counts, samples, posted })
    }

    fn count(&mut self, one: &Observation, at: i64) -> Result<(), StoreError> {
        let mut operation = one.operation.clone();
        if !self.operations.contains(&operation) && self.operations.len() >= OPERATIONS_MAX {
            operation = String::from(OTHER);
        }
        self.operations.insert(operation.clone());
        let today = Instant::from_micros(self.at).timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
        let rules = Rules::of(self.rules.iter().map(|stored| &stored.rule), &one.operation, today);
        let verdict = match one.matches {
            Some(true) => Verdict::Match,
            Some(false) => Verdict::Mismatch(vec![String::from("told")]),
            None => compare(&one.old, &one.new, &rules),
        };
        let counts = self.counts.entry((at - at.rem_euclid(MINUTE), operation.clone())).or_default();
        let mut add = |measure: Measure, count: u64| counts.add(measure.code(), count);
        add(Measure::Compared, 1);
        add(Measure::Calls, one.calls);
        add(Measure::ErrorsOld, u64::from(one.old.error.is_some()));
        add(Measure::ErrorsNew, u64::from(one.new.error.is_some()));
        add(Measure::Mismatches, u64::from(matches!(verdict, Verdict::Mismatch(_))));
        add(Measure::Ignored, u64::from(verdict == Verdict::Ignored));
        for (is_old, micros) in [(true, one.old_us), (false, one.new_us)] {
            if let Some(micros) = micros {
                counts.add_duration(is_old, micros);
            }
        }
        self.posted.accepted += 1;
        self.posted.compared += 1;
        self.posted.errors_old += u64::from(one.old.error.is_some());
        self.posted.errors_new += u64::from(one.new.error.is_some());
        match verdict {
            Verdict::Match => {}
            Verdict::Ignored => self.posted.ignored += 1,
            Verdict::Mismatch(places) => {
                self.posted.mismatches += 1;
                let data = json!({
                    "observation": one.id, "places": places, "old": shown(&one.old, &self.rules, &one.operation),
                    "new": shown(&one.new, &self.rules, &one.operation),
                });
                let path = places.into_iter().next().unwrap_or_default();
                self.samples.push(json!({
                    "id": new_id()?, "operation": operation, "path": path, "at": at, "data": data.to_string(),
                }));
            }
        }
        Ok(())
    }

    fn write(&self, connection: &mut DatabaseConnection) -> Result<(), StoreError> {
        let subject = Value::from(self.subject.as_str());
        let rows: Vec<JsonValue> = self
            .counts
            .iter()
            .flat_map(|((at, operation), counts)| counts.0.iter().map(move |(measure, count)| (at, operation, measure, count)))
            .filter(|(.., count)| **count > 0)
            .map(|(at, operation, measure, count)| json!({ "at": at, "operation": operation, "measure": measure, "n": count }))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let begins = !self.is_minute_known(connection)?;
        let source = rows_of(
            connection.dialect(),
            "$2",
            &[("at", "bigint"), ("operation", "text"), ("measure", "bigint"), ("n", "bigint")],
        );
        let sql = format!(
            "INSERT INTO svc_changeover_observation_counts AS c (subject, operation, step, at, measure, count) \
             SELECT $1, r.operation, {MINUTE}, r.at, r.measure, r.n FROM {source} WHERE 1 = 1 ORDER BY r.at, r.operation, r.measure \
             ON CONFLICT (subject, step, at, operation, measure) DO UPDATE SET count = c.count + excluded.count"
        );
        connection.execute(&sql, &[subject.clone(), Value::from(json!(rows).to_string())])?;
        if !self.samples.is_empty() {
            self.write_samples(connection)?;
        }
        if begins { prune(connection, self.at) } else { Ok(()) }
    }

    fn is_minute_known(&self, connection: &mut DatabaseConnection) -> Result<bool, StoreError> {
        let sql = format!(
            "SELECT 1 AS one FROM svc_changeover_observation_counts WHERE subject = $1 AND step = {MINUTE} AND at = $2 LIMIT 1"
        );
        let minute = self.at - self.at.rem_euclid(MINUTE);
        Ok(connection.find_row(&sql, &[Value::from(self.subject.as_str()), Value::from(minute)])?.is_some())
    }

    fn write_samples(&self, connection: &mut DatabaseConnection) -> Result<(), StoreError> {
        let columns = [("id", "text"), ("operation", "text"), ("path", "text"), ("at", "bigint"), ("data", "text")];
        let source = rows_of(connection.dialect(), "$2", &columns);
        let sql = format!(
            "INSERT INTO svc_changeover_observation_samples (id, subject, operation, path, at, data) \
             SELECT r.id, $1, r.operation, r.path, r.at, r.data FROM {source}"
        );
        let subject = Value::from(self.subject.as_str());
        connection.execute(&sql, &[subject.clone(), Value::from(json!(self.samples).to_string())])?;
        let sql = format!(
            "DELETE FROM svc_changeover_observation_samples WHERE id IN (SELECT id FROM (SELECT id, \
               row_number() OVER (PARTITION BY operation, path ORDER BY id DESC) AS of_place, \
               row_number() OVER (PARTITION BY operation ORDER BY id DESC) AS of_all \
             FROM svc_changeover_observation_samples WHERE subject = $1) s \
             WHERE s.of_place > {SAMPLES_OF_PLACE} OR s.of_all > {SAMPLES_MAX})"
        );
        connection.execute(&sql, &[subject])?;
        Ok(())
    }
}

/// A side as a sample shows it.
fn shown(side: &Outcome, rules: &[StoredRule], operation: &str) -> JsonValue {
    let mut value = side.value.clone().unwrap_or(Json::Null);
    let mut error = side.error.clone();
    let counts = |rule: &Rule| rule.operation.as_deref().is_none_or(|wanted| wanted == operation);
    for StoredRule { id, rule, .. } in rules.iter().filter(|stored| counts(&stored.rule)) {
        let hide = |text: &str| match rule.kind {
            Kind::Hash => {
                use sha2::Digest;
                let digest = sha2::Sha256::digest(format!("{id}\n{text}").as_bytes());
                format!("sha256:{}", hexadecimal(digest.get(..8).unwrap_or_default()))
            }
            _ => String::from("(hidden)"),
        };
        if !matches!(rule.kind, Kind::Redact | Kind::Hash) {
            continue;
        }
        if rule.path == "error" {
            error = error.map(|error| hide(&error));
        } else {
            value = value.hidden(&rule.parts(), &hide);
        }
    }
    let text = value.to_string();
    let cut: String = text.chars().take(SHOWN_MAX).collect();
    json!({ "value": cut, "cut": cut.len() < text.len(), "error": error })
}

/// Turns old minutes into hours and takes away what is kept no longer.
fn prune(connection: &mut DatabaseConnection, at: i64) -> Result<(), StoreError> {
    let until = at - MINUTES_KEPT;
    let until = until - until.rem_euclid(HOUR);
    let table = "svc_changeover_observation_counts";
    let sum = format!("subject, operation, at - at % {HOUR}, measure");
    let add = "ON CONFLICT (subject, step, at, operation, measure) DO UPDATE SET count = c.count + excluded.count";
    let columns = "(subject, operation, step, at, measure, count)";
    let select = |from: &str| {
        format!(
            "SELECT subject, operation, {HOUR}, at - at % {HOUR}, measure, CAST(sum(count) AS bigint) FROM {from} \
             GROUP BY {sum} ORDER BY {sum}"
        )
    };
    let old = format!("step = {MINUTE} AND at < $1");
    let value = [Value::from(until)];
    match connection.dialect() {
        // Whoever comes second finds nothing left to add up.
        Dialect::Postgres => {
            let sql = format!(
                "WITH gone AS (DELETE FROM {table} WHERE {old} RETURNING *) INSERT INTO {table} AS c {columns} {} {add}",
                select("gone")
            );
            connection.execute(&sql, &value)?;
        }
        Dialect::Sqlite => {
            let sql = format!("INSERT INTO {table} AS c {columns} {} {add}", select(&format!("{table} WHERE {old}")));
            connection.execute(&sql, &value)?;
            connection.execute(&format!("DELETE FROM {table} WHERE {old}"), &value)?;
        }
    }
    connection.execute(&format!("DELETE FROM {table} WHERE at < $1"), &[Value::from(at - HOURS_KEPT)])?;
    connection.execute("DELETE FROM svc_changeover_observation_ids WHERE at < $1", &[Value::from(at - IDS_KEPT)])?;
    connection
        .execute("DELETE FROM svc_changeover_observation_samples WHERE at < $1", &[Value::from(at - HOURS_KEPT)])?;
    Ok(())
}

/// What was observed from `from` on and before `until`, by operation.
pub fn summary(
    connection: &mut DatabaseConnection,
    subject: &Subject,
    (from, until): (Instant, Instant),
) -> Result<Vec<ObservationSummary>, StoreError> {
    let sql = "SELECT operation, measure, CAST(sum(count) AS bigint) AS n FROM svc_changeover_observation_counts
               WHERE subject = $1 AND at >= $2 AND at < $3 GROUP BY operation, measure";
    let values = [Value::from(subject.as_str()), Value::from(from.as_micros()), Value::from(until.as_micros())];
    let mut found: BTreeMap<String, Counts> = BTreeMap::new();
    for row in connection.query(sql, &values)? {
        let count = u64::try_from(row.integer("n")?).unwrap_or(0);
        found.entry(row.text("operation")?).or_default().add(row.integer("measure")?, count);
    }
    let sql = "SELECT operation, count(*) AS n FROM svc_changeover_observation_samples
               WHERE subject = $1 AND at >= $2 AND at < $3 GROUP BY operation";
    let mut samples: BTreeMap<String, u64> = BTreeMap::new();
    for row in connection.query(sql, &values)? {
        samples.insert(row.text("operation")?, u64::try_from(row.integer("n")?).unwrap_or(0));
    }
    let of = |(name, counts): (String, Counts)| {
        let kept = samples.get(&name).copied().unwrap_or(0);
        ObservationSummary::of(name, &counts, kept)
    };
    Ok(found.into_iter().map(of).collect())
}

/// What a report of a change shows: the last full 24 hours before its moment.
pub fn summaries(
    connection: &mut DatabaseConnection,
    change: &ChangeName,
    as_of: Instant,
) -> Result<Vec<ObservationSummary>, StoreError> {
    let until = as_of.as_micros() - as_of.as_micros().rem_euclid(HOUR);
    let span = (Instant::from_micros(until - 24 * HOUR), Instant::from_micros(until));
    summary(connection, &Subject::change(change), span)
}

/// The last `hours`, up to now.
#[must_use]
pub fn last_hours(hours: u32) -> (Instant, Instant) {
    let at = now().as_micros();
    (Instant::from_micros(at - i64::from(hours) * HOUR), Instant::from_micros(at + EARLY_MAX))
}

/// What was observed hour by hour.
pub fn series(
    connection: &mut DatabaseConnection,
    subject: &Subject,
    (from, until): (Instant, Instant),
) -> Result<Vec<Point>, StoreError> {
    let sql = format!(
        "SELECT operation, at - at % {HOUR} AS hour, measure, CAST(sum(count) AS bigint) AS n FROM svc_changeover_observation_counts
         WHERE subject = $1 AND at >= $2 AND at < $3 GROUP BY operation, at - at % {HOUR}, measure"
    );
    let values = [Value::from(subject.as_str()), Value::from(from.as_micros()), Value::from(until.as_micros())];
    let mut found: BTreeMap<(i64, String), Counts> = BTreeMap::new();
    for row in connection.query(&sql, &values)? {
        let count = u64::try_from(row.integer("n")?).unwrap_or(0);
        let key = (row.integer("hour")?, row.text("operation")?);
        found.entry(key).or_default().add(row.integer("measure")?, count);
    }
    let point = |((at, name), counts): ((i64, String), Counts)| Point {
        at: Instant::from_micros(at),
        summary: ObservationSummary::of(name, &counts, 0),
    };
    Ok(found.into_iter().map(point).collect())
}

/// The newest mismatches.
pub fn samples(
    connection: &mut DatabaseConnection,
    subject: &Subject,
    operation: Option<&str>,
    limit: u32,
) -> Result<Vec<Sample>, StoreError> {
    let sql = "SELECT id, operation, path, at, data FROM svc_changeover_observation_samples
               WHERE subject = $1 AND operation = coalesce($2, operation) ORDER BY id DESC LIMIT $3";
    let values = [Value::from(subject.as_str()), Value::from(operation), Value::from(i64::from(limit.min(500)))];
    let mut found = Vec::new();
    for row in connection.query(sql, &values)? {
        let (id, data) = (row.text("id")?, row.text("data")?);
        let corrupt = |error: serde_json::Error| StoreError::Corrupt {
            what: "sample",
            name: id.clone(),
            reason: error.to_string(),
        };
        let data = serde_json::from_str(&data).map_err(corrupt)?;
        let at = Instant::from_micros(row.integer("at")?);
        found.push(Sample { operation: row.text("operation")?, path: row.text("path")?, at, data, id });
    }
    Ok(found)
}
