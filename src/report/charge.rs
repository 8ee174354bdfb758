//! One charge explained: what the comparison says of it and why, what the last report said, and who explains its class.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::run::RunError;
use super::words;
use crate::allocation::{ChargeClass, ChargeFacts, ExplanationState, Wording};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant};
use crate::store::explanations::{self, StoredExplanation};
use crate::store::report_exceptions::{self, ExceptionFilter};
use crate::store::{PageRequest, Store, reports};
use crate::translation::charge::{QueryRows, ReadCharge, read_charge};
use crate::translation::compare::CompareRequest;
use crate::translation::own::get_change;

/// Everything that is known of one charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChargeStory {
    pub change: ChangeName,
    pub stage: String,
    pub charge_id: String,
    /// `None`: its rows cannot be compared.
    pub class: Option<ChargeClass>,
    /// `fine` or `wrong`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
    /// What the class means, then why this charge is in it: one sentence a fact.
    pub why: Vec<String>,
    /// Why its rows cannot be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Its rows of each query, as they stand.
    pub queries: Vec<QueryRows>,
    /// The same as it is compared: amounts in the smallest unit.
    pub facts: ChargeFacts,
    /// Explanations in force that are about it.
    pub explanations: Vec<Covering>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_report: Option<LastReport>,
}

/// An explanation that is about the charge. Whether it has room left, only a report of all charges says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Covering {
    pub id: String,
    #[serde(flatten)]
    pub wording: Wording,
    /// `holds` or `expired`.
    pub state: ExplanationState,
}

/// What the change's last report said of the charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastReport {
    pub id: String,
    pub as_of: Instant,
    /// The wrong class that it had; `None`: it was not among the exceptions.
    pub class: Option<ChargeClass>,
}

/// What is known of one charge of an installed change. Reads this charge only.
///
/// # Errors
/// A change that is not installed or has no allocation, a charge that nothing knows, and what the queries refuse.
pub fn explain_charge(
    application: &mut DatabaseConnection,
    service: &Store,
    (name, charge_id): (&ChangeName, &str),
    now: Instant,
) -> Result<ChargeStory, RunError> {
    let change = get_change(application, name)?;
    let allocation = change.file.allocation.as_ref().ok_or_else(|| RunError::NoAllocation(name.clone()))?;
    let request = CompareRequest {
        closed_before: super::run::closed_before(&change),
        closed_of: Some(name),
        ..CompareRequest::of(allocation)
    };
    let read = read_charge(application, &request, charge_id)?;
    if read.is_nothing() {
        return Err(RunError::NoSuchCharge { change: name.clone(), charge_id: charge_id.to_owned() });
    }
    let (stored, last_report) = service.read(|connection| {
        let stored = explanations::in_force(connection, name)?;
        let page = reports::list(connection, name, &PageRequest { after: None, limit: Some(1) })?;
        let Some(report) = page.items.into_iter().next() else { return Ok((stored, None)) };
        let filter = ExceptionFilter { class: None, charge: Some(charge_id.to_owned()) };
        // The id itself comes before all that begin with it.
        let first = PageRequest { after: None, limit: Some(1) };
        let listed = report_exceptions::list(connection, &report.id, &filter, &first)?.items;
        let class = listed.into_iter().find(|line| line.charge_id == charge_id).map(|line| line.class);
        Ok((stored, Some(LastReport { id: report.id, as_of: report.as_of, class })))
    })?;
    let ReadCharge { queries, facts, class, refused } = read;
    Ok(ChargeStory {
        change: name.clone(),
        stage: change.stage.to_string(),
        charge_id: charge_id.to_owned(),
        class,
        verdict: class.map(|class| if class.is_wrong() { "wrong" } else { "fine" }),
        why: class.map(|class| why(class, &facts)).unwrap_or_default(),
        refused,
        explanations: covering(&stored, charge_id, class, &facts, now),
        queries,
        facts,
        last_report,
    })
}

fn why(class: ChargeClass, facts: &ChargeFacts) -> Vec<String> {
    let mut why = vec![class.sentence().to_owned()];
    why.extend(facts.reasons(class));
    why
}

fn covering(
    stored: &[StoredExplanation],
    charge_id: &str,
    class: Option<ChargeClass>,
    facts: &ChargeFacts,
    now: Instant,
) -> Vec<Covering> {
    let Some(class) = class.filter(|class| class.is_wrong()) else { return Vec::new() };
    let today = now.timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
    let place = facts.charge.as_ref().map(|charge| (charge.period.as_str(), charge.currency.as_str())).unzip();
    stored
        .iter()
        .filter(|one| one.wording.may_cover(charge_id, class, place))
        .map(|one| Covering {
            id: one.id.clone(),
            wording: one.wording.clone(),
            state: if one.wording.expires < today { ExplanationState::Expired } else { ExplanationState::Holds },
        })
        .collect()
}

impl ChargeStory {
    /// The charge's group, if it has exactly one.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        match self.facts.groups.as_slice() {
            [group] => Some(group),
            _ => None,
        }
    }

    /// The charge's period, as the charges query prints it.
    #[must_use]
    pub fn period(&self) -> Option<&str> {
        self.facts.charge.as_ref().map(|charge| charge.period.as_str())
    }

    /// For a terminal, with what routing says of its group in between.
    #[must_use]
    pub fn to_text(&self, routing: &[String]) -> String {
        let mut lines = vec![self.headline()];
        lines.extend(self.why.iter().map(|why| format!("  {}", words::sentence(why))));
        lines.extend(self.refused.iter().map(|why| format!("  {}", words::sentence(why))));
        lines.push(String::new());
        lines.extend(self.queries.iter().flat_map(query_lines));
        lines.push(String::new());
        lines.extend(routing.iter().map(|line| words::sentence(line)));
        lines.extend(self.closing());
        lines.extend(self.explaining());
        lines.extend(self.last_report.iter().map(|report| {
            let (id, as_of) = (&report.id, words::moment(report.as_of));
            match report.class {
                Some(class) => format!("The last report, {id} as of {as_of}, has it as {class}."),
                None => format!("The last report, {id} as of {as_of}, does not have it among its exceptions."),
            }
        }));
        lines.join("\n")
    }

    fn headline(&self) -> String {
        let id = words::id(&self.charge_id);
        let about = match &self.facts.charge {
            Some(charge) => format!(
                "charge {id}, {}, {} {}",
                words::printable(&charge.period),
                charge.amount.grouped(self.facts.exponent),
                words::printable(&charge.currency)
            ),
            None => format!("charge {id}"),
        };
        match self.class {
            Some(class) if class.is_wrong() => format!("{about}: WRONG, {class} ({})", class.title()),
            Some(class) => format!("{about}: fine, {class} ({})", class.title()),
            None => format!("{about}: cannot be compared"),
        }
    }

    fn closing(&self) -> Vec<String> {
        let Some(recorded) = &self.facts.recorded else {
            let closed = self
                .facts
                .is_closed
                .then(|| String::from("Its period is closed; what it was allocated to then was not recorded."));
            return closed.into_iter().collect();
        };
        let when = match (recorded.closed_at, &recorded.closed_by) {
            (Some(at), Some(by)) => format!("Its period closed at {} by {}", words::moment(at), words::printable(by)),
            _ => String::from("Its period is closed"),
        };
        let new = recorded
            .new
            .as_ref()
            .map_or_else(|| String::from("not recorded"), |new| words::sentence(&self.facts.shares(new)));
        vec![format!("{when} and recorded: old {}; new {new}.", words::sentence(&self.facts.shares(&recorded.old)))]
    }

    fn explaining(&self) -> Vec<String> {
        if !self.class.is_some_and(ChargeClass::is_wrong) {
            return Vec::new();
        }
        if self.explanations.is_empty() {
            let (change, class, id) =
                (&self.change, self.class.map(ChargeClass::as_str).unwrap_or_default(), &self.charge_id);
            return vec![format!(
                "Nobody explains it: mend it, or `changeover explanation add {change} --class {class} --charge {} …`.",
                words::id(id)
            )];
        }
        let lines = self.explanations.iter().map(|one| {
            let state = match one.state {
                ExplanationState::Expired => format!("expired on {}", one.wording.expires),
                _ => format!("until {}, at most {} charges", one.wording.expires, one.wording.max_count),
            };
            let (code, owner) = (&one.wording.reason_code, words::printable(&one.wording.owner));
            format!("Explanation {} ({code}, {owner}, {state}): {}", one.id, words::sentence(&one.wording.text))
        });
        lines.collect()
    }
}

/// A query's rows, one a line.
fn query_lines(query: &QueryRows) -> Vec<String> {
    if query.rows.is_empty() {
        return vec![format!("{:<16} (no row)", query.query)];
    }
    let mut shown: Vec<(String, usize)> = Vec::new();
    for row in &query.rows {
        let row = cells(row);
        match shown.last_mut().filter(|(last, _)| *last == row) {
            Some((_, times)) => *times += 1,
            None => shown.push((row, 1)),
        }
    }
    let name = |place: usize| if place == 0 { query.query } else { "" };
    let times = |times: usize| if times > 1 { format!("  ×{times}") } else { String::new() };
    let rows = shown.iter().enumerate();
    let mut lines: Vec<String> =
        rows.map(|(place, (row, count))| format!("{:<16} {row}{}", name(place), times(*count))).collect();
    if query.more {
        lines.push(format!("{:<16} … and more", ""));
    }
    lines
}

/// `payer=7  amount=500`; the id stands in the headline.
fn cells(row: &Map<String, Json>) -> String {
    let shown = row.iter().filter(|(name, _)| name.as_str() != "charge_id");
    let cells: Vec<String> = shown
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| String::from("NULL"), words::printable);
            format!("{}={value}", words::printable(name))
        })
        .collect();
    cells.join("  ")
}
