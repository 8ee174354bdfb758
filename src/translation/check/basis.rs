//! A division with a scale, and one that is kept: what its keys `scale` and `reverses` ask of the tables.

use super::Checker;
use super::block::{Subject, create_index};
use super::inspect::Described;
use crate::change::{Split, shown};
use crate::database::Dialect;
use crate::sql::catalogue::{Column, KeyKind, Table};
use crate::sql::driving::DrivingKey;
use crate::sql::model::DrivingModel;
use crate::sql::names::quoted;
use crate::sql::own_columns::own_columns;
use crate::translation::resolve::{SCALE_ON_SQLITE, source as source_model, table_model};

/// What an amount is that has a scale: a NUMERIC of at least as many decimals.
pub(super) fn check_numeric(checker: &mut Checker<'_>, label: &str, split: &Split, column: &Column, place: &str) {
    let Some(scale) = split.scale.filter(|_| checker.dialect == Dialect::Postgres) else { return };
    if column.kind == KeyKind::Integer && place == "the result" {
        return;
    }
    let decimals =
        column.data_type.rsplit_once(',').and_then(|(_, rest)| rest.trim_end_matches(')').trim().parse::<i32>().ok());
    let is_numeric = column.base_type.starts_with("numeric");
    let holds = match decimals {
        Some(decimals) => decimals >= i32::from(scale),
        // `numeric(10)` has no decimals, `numeric` as many as are written.
        None => !column.data_type.contains('('),
    };
    if !is_numeric || !holds {
        let what =
            format!("the split's `scale` is {scale}, but {} of {place} is {}", shown(&column.name), column.data_type);
        let remedy = format!("make it NUMERIC, or NUMERIC(30,{scale}): with fewer decimals it would be rounded");
        checker.mistake(label, split.line, &what, &remedy);
    }
}

/// What a division that is kept needs: a key of its own, and an amount that the driving row tells alone.
pub(super) fn check(checker: &mut Checker<'_>, subject: &Subject<'_>, described: &Described, split: &Split) {
    let (block, label) = (subject.block, subject.label.as_str());
    if split.scale.is_some() && checker.dialect == Dialect::Sqlite {
        let (what, remedy) = SCALE_ON_SQLITE.split_once(": ").unwrap_or((SCALE_ON_SQLITE, ""));
        checker.mistake(label, split.line, what, remedy);
    }
    let (Some(source), Some(key), Some(target)) = (subject.source, &subject.key, subject.target) else { return };
    if block.frozen.is_none() && split.reverses.is_none() {
        return;
    }
    let driving = DrivingModel { table: table_model(source), key: key.columns.clone(), key_is_unique: key.is_unique };
    let names: Vec<String> = block.key.value.target_columns().into_iter().map(str::to_owned).collect();
    let amount = described.find(&split.amount).map_or(split.amount.as_str(), |column| column.name.as_str());
    let own = own_columns(&source_model(block, target), &driving, &names, &[amount], checker.dialect);
    let tells_amount = own.columns.iter().any(|(column, _)| column.eq_ignore_ascii_case(amount));
    let Some(fault) = (match (key.is_unique, tells_amount) {
        (false, _) => Some(format!("the key of {} is not unique", shown(&source.shown()))),
        (true, false) => Some(format!("{} is no value of a row of {} alone", shown(amount), shown(&source.shown()))),
        (true, true) => None,
    }) else {
        return check_reverses(checker, subject, split, source, key);
    };
    match &split.reverses {
        Some(reverses) => {
            let what = format!("{fault}, so that nothing tells how a row that `reverses` another is divided");
            checker.mistake(label, reverses.line, &what, BASIS_REMEDY);
        }
        None => {
            let what = format!(
                "{fault}, so that no basis is kept: a frozen key whose own row changes is divided over today's rows"
            );
            checker.warning(label, split.line, &what, BASIS_REMEDY);
        }
    }
}

const BASIS_REMEDY: &str = "key the block by the driving table's own key, in one SELECT that returns the amount as a column of the driving table (c.amount)";

/// The column is there, holds keys, and is indexed.
fn check_reverses(checker: &mut Checker<'_>, subject: &Subject<'_>, split: &Split, source: &Table, key: &DrivingKey) {
    let (Some(reverses), label) = (&split.reverses, subject.label.as_str()) else { return };
    let Some(column) = checker.column(label, reverses.line, source, &reverses.value) else { return };
    let [only] = key.columns.as_slice() else {
        let what =
            format!("`reverses` names one column, but the key of {} has {}", shown(&source.shown()), key.columns.len());
        checker.mistake(label, reverses.line, &what, "give the table a key of one column");
        return;
    };
    if let Some(wanted) = source.find_column(&quoted(&only.name))
        && ![column.kind, wanted.kind].contains(&KeyKind::Other)
        && column.kind != wanted.kind
    {
        let what = format!(
            "`reverses` names {}, which is {}, but the key {} is {}",
            shown(&column.name),
            column.data_type,
            shown(&wanted.name),
            wanted.data_type
        );
        checker.mistake(label, reverses.line, &what, "name the column that holds the key of the row which is reversed");
    }
    if !source.is_indexed_by(&column.name) {
        let what =
            format!("no index of the driving table {} begins with {}", shown(&source.shown()), shown(&column.name));
        checker.warning(label, reverses.line, &what, &create_index(source, &column.name));
    }
}
