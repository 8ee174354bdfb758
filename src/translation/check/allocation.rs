//! The queries of `[routing]` and `[allocation]`: each returns the columns that routing, comparison and the bill run use.

use super::text::Text;
use super::{CheckError, Checker};
use crate::change::{Allocation, ChangeFile, Located, shown};
use crate::database::Dialect;
use crate::sql::catalogue::{Column, KeyKind};
use crate::sql::rewrite::parameters;

pub(super) fn check(checker: &mut Checker<'_>, file: &ChangeFile) -> Result<(), CheckError> {
    if let Some(query) = &file.routing.group_of_user {
        let text = Text { parameter: Some(":user"), ..Text::new("[routing]", "group_of_user", query) };
        if parameters(&query.value).is_empty() {
            let what = "`group_of_user` does not use `:user`, so everybody would be in the same group";
            checker.mistake("[routing]", query.line, what, "compare the user's id with :user");
        }
        checker.describe_single(&text, "the user's group")?;
    }
    match &file.allocation {
        Some(allocation) => check_allocation(checker, allocation),
        None => Ok(()),
    }
}

/// A key of `[allocation]`, its query, and the columns that it returns.
type Wanted<'a> = (&'a str, Option<&'a Located<String>>, &'a [&'a str]);

fn check_allocation(checker: &mut Checker<'_>, allocation: &Allocation) -> Result<(), CheckError> {
    let queries: [Wanted<'_>; 6] = [
        ("charges", Some(&allocation.charges), &["charge_id", "period", "currency", "amount"]),
        ("old", Some(&allocation.old), &["charge_id", "payer", "amount"]),
        ("new", Some(&allocation.new), &["charge_id", "payer", "amount"]),
        ("group", Some(&allocation.group), &["charge_id", "group_id"]),
        ("expected_payers", allocation.expected_payers.as_ref(), &["charge_id", "payer"]),
        ("reverses", allocation.reverses.as_ref(), &["charge_id", "reverses_id"]),
    ];
    for (key, query, wanted) in queries {
        let Some(query) = query else { continue };
        let text = Text::new("[allocation]", key, query);
        let Some(described) = checker.describe(&text)? else { continue };
        for name in wanted {
            // Generated SQL names these columns as they stand here.
            match described.columns.iter().find(|column| column.name == *name) {
                Some(column) => check_type(checker, &text, column),
                None => {
                    let what = format!("`{key}` does not return {}", shown(name));
                    let remedy = format!("return {}: write … AS {name}", wanted.join(", "));
                    checker.mistake("[allocation]", query.line, &what, &remedy);
                }
            }
        }
    }
    Ok(())
}

/// Amounts are exact, periods text; only PostgreSQL knows a result's type.
fn check_type(checker: &mut Checker<'_>, text: &Text<'_>, column: &Column) {
    if checker.dialect == Dialect::Sqlite {
        return;
    }
    let (is_right, remedy) = match column.name.as_str() {
        "amount" => (
            column.kind == KeyKind::Integer || column.data_type.starts_with("numeric"),
            "return an integer of whole minor units: floats are not exact",
        ),
        "period" => (column.kind == KeyKind::Text, "return text such as 2026-11: to_char(…, 'YYYY-MM')"),
        _ => (true, ""),
    };
    if !is_right {
        let what = format!("`{}` returns {} as {}", text.key, shown(&column.name), column.data_type);
        checker.mistake(text.label, text.line_of(&column.name), &what, remedy);
    }
}
