//! One charge among millions: its rows of each query of [allocation], the class that a comparison gives it, and what the closed period
//! recorded of it. Reads this charge, and the one that it gives back.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::closing::find_closed;
use super::compare::{CompareError, CompareRequest, query};
use super::compare_columns::{columns_of, find_effective_view, look};
use super::compare_rows::{Line, refuse_faults};
use super::compare_sum::ClassLine;
use crate::allocation::{ChargeClass, ChargeFacts, ChargeRow, EffectivePart, Minor, PayerPart, Recorded, Reversed};
use crate::database::DatabaseConnection;
use crate::primitives::{Instant, exponent_of};
use crate::sql::charge::{self as charge_sql, ROWS_MAX};
use crate::sql::closed::Closed;
use crate::sql::compare::{self as compare_sql, CompareQuery, Scope};
use crate::sql::compare_parts;

/// A query's rows of one charge, each column as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueryRows {
    /// As in the change file: `charges`, `old`, `new`, …; `effective` is the view.
    pub query: &'static str,
    pub rows: Vec<Map<String, Json>>,
    /// There are more rows than are shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// What is known of one charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadCharge {
    pub queries: Vec<QueryRows>,
    pub facts: ChargeFacts,
    /// `None`: nothing anywhere has this id, or its rows cannot be compared.
    pub class: Option<ChargeClass>,
    /// Why its rows cannot be compared.
    pub refused: Option<String>,
}

impl ReadCharge {
    /// True if no query returns anything of it and no closed period has recorded it.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.queries.iter().all(|query| query.rows.is_empty()) && self.facts.recorded.is_none()
    }
}

/// Reads one charge, all of it at one moment. Of the request, periods and asked charges do not matter.
///
/// # Errors
/// A query that fails or lacks a column, and what the database refuses.
pub fn read_charge(
    connection: &mut DatabaseConnection,
    request: &CompareRequest<'_>,
    charge_id: &str,
) -> Result<ReadCharge, CompareError> {
    connection.in_snapshot(|connection| {
        let effective = if request.use_effective_view { find_effective_view(connection)? } else { None };
        let columns = look(connection, request.allocation, effective.as_deref(), Some(charge_id))?;
        let closed = match request.closed_of {
            Some(change) => find_closed(connection, change)?,
            None => None,
        };
        let scope = Scope::These(vec![charge_id.to_owned()]);
        let asked = [charge_id.to_owned()];
        let request = CompareRequest { periods: &[], asked_charges: &asked, ..request.clone() };
        let query = CompareQuery {
            closed: closed.as_ref(),
            ..query(connection.dialect(), &request, effective.as_deref(), &columns, &scope)
        };
        Reading { request: &request, query, charge_id }.read(connection, closed.as_ref())
    })
}

struct Reading<'a> {
    request: &'a CompareRequest<'a>,
    query: CompareQuery<'a>,
    charge_id: &'a str,
}

impl Reading<'_> {
    fn read(&self, connection: &mut DatabaseConnection, closed: Option<&Closed>) -> Result<ReadCharge, CompareError> {
        let queries = self.queries(connection)?;
        let mut facts = self.facts(connection)?;
        if let Some(closed) = closed {
            facts.recorded = self.recorded(connection, closed, &facts)?;
        }
        let (class, refused) = match self.class(connection, &facts) {
            Ok(class) => (class, None),
            Err(error @ CompareError::Faults { .. }) => (None, Some(error.to_string())),
            Err(error) => return Err(error),
        };
        Ok(ReadCharge { queries, facts, class, refused })
    }

    fn queries(&self, connection: &mut DatabaseConnection) -> Result<Vec<QueryRows>, CompareError> {
        let mut reads: Vec<(&'static str, String)> = compare_sql::queries(self.query.allocation)
            .into_iter()
            .map(|(name, text, _)| (name, text.value.clone()))
            .collect();
        reads.extend(self.query.effective.map(|view| ("effective", format!("SELECT * FROM {view}"))));
        reads.into_iter().map(|(name, text)| self.rows(connection, name, &text)).collect()
    }

    fn rows(
        &self,
        connection: &mut DatabaseConnection,
        name: &'static str,
        text: &str,
    ) -> Result<QueryRows, CompareError> {
        let columns = columns_of(connection, text)?;
        let found = connection.query(&charge_sql::rows(&self.query, text, &columns), &[])?;
        let mut rows = Vec::new();
        for row in found.iter().take(ROWS_MAX) {
            let mut cells = Map::new();
            for column in &columns {
                cells.insert(column.clone(), row.find_text(column)?.map_or(Json::Null, Json::String));
            }
            rows.push(cells);
        }
        Ok(QueryRows { query: name, rows, more: found.len() > ROWS_MAX })
    }

    fn facts(&self, connection: &mut DatabaseConnection) -> Result<ChargeFacts, CompareError> {
        let mut found = read_facts(connection, &self.query)?;
        let (exponent, scale) = (self.query.allocation.exponent, self.query.allocation.scale);
        let known = found.charge.as_ref().and_then(|charge| exponent_of(&charge.currency));
        found.exponent = exponent.or(scale).or(known).unwrap_or(0);
        let period = found.charge.as_ref().map(|charge| charge.period.as_str());
        let closed_before = self.request.closed_before.filter(|before| !before.is_empty());
        found.is_closed = matches!((period, closed_before), (Some(period), Some(before)) if period < before);
        if let Some(reversed) = &mut found.reverses {
            let scope = Scope::These(vec![reversed.charge_id.clone()]);
            let original = read_facts(connection, &CompareQuery { scope: &scope, ..self.query })?;
            reversed.charge = original.charge;
            reversed.new = original.new;
        }
        Ok(found)
    }

    fn recorded(
        &self,
        connection: &mut DatabaseConnection,
        closed: &Closed,
        facts: &ChargeFacts,
    ) -> Result<Option<Recorded>, CompareError> {
        let mut models: BTreeMap<String, Vec<PayerPart>> = BTreeMap::new();
        for row in connection.query(&charge_sql::recorded(&self.query, closed, self.charge_id), &[])? {
            let amount = row.find_text("amount")?.and_then(|text| text.parse().ok()).unwrap_or(Minor::ZERO);
            let part = PayerPart { payer: row.find_text("payer")?, amount, currency: None };
            models.entry(row.text("model")?).or_default().push(part);
        }
        let period = facts.charge.as_ref().map(|charge| charge.period.clone());
        let closing = match (self.request.closed_of, &period) {
            (Some(change), Some(period)) => {
                connection.find_row(&charge_sql::closing(self.query.dialect, change, period), &[])?
            }
            _ => None,
        };
        if models.is_empty() && closing.is_none() {
            return Ok(None);
        }
        let (mut closed_at, mut closed_by, mut has_new) = (None, None, models.contains_key("new"));
        if let Some(row) = closing {
            closed_at = Some(Instant::from_micros(row.integer("at")?));
            closed_by = row.find_text("actor")?;
            has_new = row.integer("has_new")? == 1;
        }
        let old = models.remove("old").unwrap_or_default();
        let new = has_new.then(|| models.remove("new").unwrap_or_default());
        Ok(Some(Recorded { closed_at, closed_by, old, new }))
    }

    /// The class that a comparison of everything gives the charge: the same statements, of this charge only.
    fn class(
        &self,
        connection: &mut DatabaseConnection,
        facts: &ChargeFacts,
    ) -> Result<Option<ChargeClass>, CompareError> {
        refuse_faults(&lines(connection, &compare_parts::faults(&self.query))?)?;
        let has_parts = !(facts.old.is_empty() && facts.new.is_empty());
        if facts.charge.is_none() {
            return Ok(match (has_parts, &facts.recorded) {
                (true, _) => Some(ChargeClass::Orphan),
                (false, Some(_)) => Some(ChargeClass::FrozenChanged),
                (false, None) => None,
            });
        }
        for line in lines(connection, &compare_sql::compare(&self.query))? {
            if line.section() == "class" {
                let line = ClassLine::read(&line)?;
                if line.told.is_some() {
                    return Ok(line.class);
                }
            }
        }
        Ok(None)
    }
}

fn read_facts(connection: &mut DatabaseConnection, query: &CompareQuery<'_>) -> Result<ChargeFacts, CompareError> {
    let mut facts = ChargeFacts {
        expected: query.allocation.expected_payers.as_ref().map(|_| Vec::new()),
        effective: query.effective.map(|_| Vec::new()),
        ..ChargeFacts::default()
    };
    for line in lines(connection, &charge_sql::facts(query))? {
        let (first, second) = (line.find_text(1), line.find_text(2));
        let amount = line.amount(1)?;
        match line.section() {
            "charge" => {
                let (period, currency) = (first.unwrap_or_default(), second.unwrap_or_default());
                facts.charge = Some(ChargeRow { period, currency, amount });
            }
            "old" => facts.old.push(PayerPart { payer: first, amount, currency: None }),
            "new" => facts.new.push(PayerPart { payer: first, amount, currency: second }),
            "group" => facts.groups.extend(first),
            "expected" => facts.expected.get_or_insert_default().push(first),
            "reverses" => {
                facts.reverses = first.map(|charge_id| Reversed { charge_id, charge: None, new: Vec::new() });
            }
            _ => {
                let part = EffectivePart { payer: first, amount, side: second.unwrap_or_default() };
                facts.effective.get_or_insert_default().push(part);
            }
        }
    }
    sort(&mut facts);
    Ok(facts)
}

/// In the order of payers, whatever the database's.
fn sort(facts: &mut ChargeFacts) {
    let key = |payer: &Option<String>| payer.as_ref().map(|name| (name.len(), name.clone()));
    facts.old.sort_by_key(|part| (key(&part.payer), part.amount));
    facts.new.sort_by_key(|part| (key(&part.payer), part.amount));
    facts.groups.sort();
    facts.groups.dedup();
    if let Some(effective) = &mut facts.effective {
        effective.sort_by_key(|part| (key(&part.payer), part.amount));
    }
    if let Some(expected) = &mut facts.expected {
        expected.sort_by_key(key);
        expected.dedup();
    }
}

fn lines(connection: &mut DatabaseConnection, sql: &str) -> Result<Vec<Line>, CompareError> {
    let mut lines = Vec::new();
    connection.query_each(sql, |cells| {
        lines.push(Line(cells));
        Ok::<(), CompareError>(())
    })?;
    Ok(lines)
}
