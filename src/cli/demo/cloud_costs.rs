//! The cloud-costs example: real charges in the FOCUS 1.0 format (FinOps Open Cost and Usage Specification), read from a
//! CSV file that the user has. Amounts become integers of 10⁻¹¹ US dollars; nothing is rounded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::example::{Example, LoadError, create_tables, settle};
use super::insert::{Field, Insert};
use crate::database::{DatabaseConnection, DatabaseError};
use crate::primitives::Period;

/// Decimals of an amount, as `[allocation] exponent` of the change file says.
pub const EXPONENT: usize = 11;

/// Rows that have been loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Loaded {
    pub billing_accounts: u64,
    pub sub_accounts: u64,
    pub charges: u64,
}

/// Creates the example's tables and fills the old model from the CSV file. One transaction: it is all there or nothing is.
pub fn load(connection: &mut DatabaseConnection, path: &Path) -> Result<Loaded, LoadError> {
    let charges = read(path)?;
    connection.in_transaction(|connection| {
        create_tables(connection, Example::CloudCosts)?;
        let loaded = insert(connection, &charges)?;
        settle(connection, Example::CloudCosts, &["charges"])?;
        Ok(loaded)
    })
}

/// A row of the file, as far as the example uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Charge {
    id: i64,
    billing_account: (String, String),
    sub_account: Option<(String, Option<String>)>,
    period: String,
    currency: String,
    amount: i64,
    service: String,
    tags: Option<String>,
}

fn insert(connection: &mut DatabaseConnection, charges: &[Charge]) -> Result<Loaded, DatabaseError> {
    let billing: BTreeMap<&str, &str> =
        charges.iter().map(|charge| (charge.billing_account.0.as_str(), charge.billing_account.1.as_str())).collect();
    let mut billing_accounts = Insert::into("billing_accounts", "id, name");
    for (id, name) in billing {
        billing_accounts.push(connection, &[Field::Text(id), Field::Text(name)])?;
    }
    let billing_accounts = billing_accounts.finish(connection)?;

    let sub: BTreeMap<&str, Option<&str>> = charges
        .iter()
        .filter_map(|charge| charge.sub_account.as_ref())
        .map(|(id, name)| (id.as_str(), name.as_deref()))
        .collect();
    let mut sub_accounts = Insert::into("sub_accounts", "id, name");
    for (id, name) in sub {
        sub_accounts.push(connection, &[Field::Text(id), name.into()])?;
    }
    let sub_accounts = sub_accounts.finish(connection)?;

    let mut rows =
        Insert::into("charges", "id, billing_account_id, sub_account_id, period, currency, amount, service, tags");
    for charge in charges {
        let row = [
            Field::Integer(charge.id),
            Field::Text(&charge.billing_account.0),
            charge.sub_account.as_ref().map(|(id, _)| id.as_str()).into(),
            Field::Text(&charge.period),
            Field::Text(&charge.currency),
            Field::Integer(charge.amount),
            Field::Text(&charge.service),
            charge.tags.as_deref().into(),
        ];
        rows.push(connection, &row)?;
    }
    Ok(Loaded { billing_accounts, sub_accounts, charges: rows.finish(connection)? })
}

fn read(path: &Path) -> Result<Vec<Charge>, LoadError> {
    let unreadable = |source: csv::Error| LoadError::Read { path: path.to_owned(), source };
    let mut reader = csv::Reader::from_path(path).map_err(unreadable)?;
    let columns: BTreeMap<String, usize> =
        reader.headers().map_err(unreadable)?.iter().enumerate().map(|(nth, name)| (name.to_owned(), nth)).collect();
    let mut charges = Vec::new();
    for record in reader.records() {
        let record = record.map_err(unreadable)?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = CsvRow { columns: &columns, record: &record, path, line };
        charges.push(row.charge()?);
    }
    Ok(charges)
}

/// A record of the file with what is needed to say where something is wrong.
struct CsvRow<'a> {
    columns: &'a BTreeMap<String, usize>,
    record: &'a csv::StringRecord,
    path: &'a Path,
    line: u64,
}

impl CsvRow<'_> {
    fn charge(&self) -> Result<Charge, LoadError> {
        let id = self.text("Id")?;
        let amount = self.text("BilledCost")?;
        let period = self.text("BillingPeriodStart")?.get(..7).unwrap_or_default();
        let tags = self.find("Tags")?.map(str::to_owned);
        if let Some(tags) = &tags
            && serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(tags).is_err()
        {
            return Err(self.wrong(format!("Tags is no JSON object: {tags}")));
        }
        Ok(Charge {
            id: id.parse().map_err(|_| self.wrong(format!("Id is no integer: {id}")))?,
            billing_account: (
                self.text("BillingAccountId")?.to_owned(),
                self.find("BillingAccountName")?.unwrap_or_default().to_owned(),
            ),
            sub_account: match self.find("SubAccountId")? {
                Some(id) => Some((id.to_owned(), self.find("SubAccountName")?.map(str::to_owned))),
                None => None,
            },
            period: period.parse::<Period>().map_err(|error| self.wrong(error.to_string()))?.to_string(),
            currency: self.text("BillingCurrency")?.to_owned(),
            amount: parse_amount(amount)
                .ok_or_else(|| self.wrong(format!("BilledCost is no amount with {EXPONENT} decimals: {amount}")))?,
            service: self.find("ServiceName")?.unwrap_or_default().to_owned(),
            tags,
        })
    }

    /// A field; the literal text `NULL` is `None`.
    fn find(&self, column: &str) -> Result<Option<&str>, LoadError> {
        let field = self.columns.get(column).and_then(|position| self.record.get(*position));
        let field = field.ok_or_else(|| self.wrong(format!("there is no column {column}: is this a FOCUS file?")))?;
        Ok((field != "NULL").then_some(field))
    }

    fn text(&self, column: &str) -> Result<&str, LoadError> {
        self.find(column)?.ok_or_else(|| self.wrong(format!("{column} is NULL")))
    }

    fn wrong(&self, what: String) -> LoadError {
        LoadError::Data { path: PathBuf::from(self.path), line: self.line, what }
    }
}

/// `-2.6137` → −261 370 000 000: exact, or `None`.
fn parse_amount(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > EXPONENT {
        return None;
    }
    let magnitude: i64 = format!("{whole}{fraction:0<EXPONENT$}").parse().ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        assert_eq!(parse_amount("0.00000080000"), Some(80_000));
        assert_eq!(parse_amount("-2.61370000000"), Some(-261_370_000_000));
        assert_eq!(parse_amount("20.52022672899"), Some(2_052_022_672_899));
        assert_eq!(parse_amount("3"), Some(300_000_000_000));
        assert_eq!(parse_amount("0.000000000010"), Some(1));
        for bad in ["", "-", ".5", "1e3", "0.000000000001", "99999999999", "1,5", "NULL", "--1", "+1"] {
            assert_eq!(parse_amount(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.csv");
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.ends_with("line 2: there is no column Id: is this a FOCUS file?"), "{error}");
    }
}
