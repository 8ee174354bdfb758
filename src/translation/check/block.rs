//! One block: its tables, its key and identity, what its query returns and reads, and its other SQL texts.

use super::basis;
use super::inspect::Described;
use super::text::Text;
use super::{CheckError, CheckedBlock, Checker};
use crate::change::{Block, Follow, Located, Query, shown};
use crate::database::Dialect;
use crate::sql::catalogue::{Column, KeyKind, Table};
use crate::sql::driving::{DrivingKey, driving_key};
use crate::sql::effective::subquery;
use crate::sql::names::quoted;

/// Everything about one block, gathered once.
pub(super) struct Subject<'b> {
    pub(super) block: &'b Block,
    pub(super) label: String,
    pub(super) target: Option<&'b Table>,
    pub(super) source: Option<&'b Table>,
    /// The driving table's key; `None` if there is none, which has been said.
    pub(super) key: Option<DrivingKey>,
    follows: Vec<Option<&'b Table>>,
    constant: Vec<Option<&'b Table>>,
}

pub(super) fn check<'c>(checker: &mut Checker<'c>, block: &'c Block) -> Result<Option<CheckedBlock>, CheckError> {
    let label = block.label();
    let mut subject = Subject {
        key: None,
        target: checker.table(&label, "into", &block.into),
        source: checker.table(&label, "from", &block.from),
        follows: block.follows.iter().map(|follow| checker.table(&label, "follows", &follow.table)).collect(),
        constant: block.constant.iter().map(|table| checker.table(&label, "constant", table)).collect(),
        block,
        label,
    };
    subject.key = check_driving_key(checker, &subject);
    check_tables(checker, &subject);
    check_owns(checker, &subject)?;
    let described = describe_query(checker, &subject)?;
    for (follow, table) in block.follows.iter().zip(&subject.follows) {
        check_follow(checker, &subject, follow, *table)?;
    }
    check_frozen(checker, &subject)?;
    let Some(described) = described else { return Ok(None) };
    let identity = check_identity(checker, &subject, &described);
    check_columns(checker, &subject, &described);
    check_split(checker, &subject, &described);
    check_reads(checker, &subject, &described);
    if let Some(identity) = identity {
        check_write(checker, &subject, &described, &identity)?;
    }
    Ok(Some(CheckedBlock { id: block.id, columns: described.columns, reads: described.reads }))
}

/// The driving table has a key as the block names it; a key that is not the table's own is indexed.
fn check_driving_key(checker: &mut Checker<'_>, subject: &Subject<'_>) -> Option<DrivingKey> {
    let (block, label) = (subject.block, subject.label.as_str());
    let source = subject.source.filter(|source| source.is_ordinary)?;
    let key = match driving_key(source, &block.key.value) {
        Ok(key) => key,
        Err(fault) => {
            checker.mistake(label, block.key.line, &fault.what, &fault.remedy);
            return None;
        }
    };
    if !key.is_unique {
        let columns: Vec<&str> = key.columns.iter().map(|column| column.name.as_str()).collect();
        warn_without_index(checker, label, (block.key.line, "the driving table"), source, &columns);
        for column in key.columns.iter().filter(|column| column.nullable) {
            let what = format!("{} of the driving table {} may be NULL", shown(&column.name), shown(&source.shown()));
            let remedy = "such rows have no key, and nothing is computed for them: declare the column NOT NULL, or leave them out in the query";
            checker.warning(label, block.key.line, &what, remedy);
        }
    }
    Some(key)
}

/// Warns if no index of the table begins with one of the columns of a key.
fn warn_without_index(
    checker: &mut Checker<'_>,
    label: &str,
    (line, what): (usize, &str),
    table: &Table,
    columns: &[&str],
) {
    let begins = |index: &Vec<String>| {
        let leading = index.iter().take(columns.len());
        leading.clone().count() == columns.len() && leading.into_iter().all(|column| columns.contains(&column.as_str()))
    };
    if columns.is_empty() || table.indexes.iter().any(begins) {
        return;
    }
    let what = format!("no index of {what} {} begins with the key ({})", shown(&table.shown()), columns.join(", "));
    checker.warning(label, line, &what, &create_index(table, &columns.join(", ")));
}

/// The tables can have triggers, and the target's key columns are there and indexed.
fn check_tables(checker: &mut Checker<'_>, subject: &Subject<'_>) {
    let (block, label) = (subject.block, subject.label.as_str());
    let followed = block.follows.iter().map(|follow| &follow.table).zip(&subject.follows);
    for (name, table) in [(&block.from, &subject.source), (&block.into, &subject.target)].into_iter().chain(followed) {
        if let Some(table) = table
            && !table.is_ordinary
        {
            let what = format!("{} is not a table that can have triggers", shown(&table.shown()));
            checker.mistake(label, name.line, &what, "name the table that holds the rows, not a view or virtual table");
        }
        if let Some(obstacle) = table.and_then(|table| table.obstacle.as_ref()) {
            let what = format!("{} cannot be translated: {obstacle}", shown(&name.value));
            checker.mistake(label, name.line, &what, "partitioned tables can be translated, inheritance cannot");
        }
    }
    let Some(target) = subject.target else { return };
    let written = block.key.value.target_columns().into_iter();
    let columns: Option<Vec<Column>> =
        written.map(|name| checker.column(label, block.key.line, target, name)).collect();
    let Some(columns) = columns else { return };
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    warn_without_index(checker, label, (block.key.line, "the target"), target, &names);
}

pub(super) fn create_index(table: &Table, column: &str) -> String {
    let name = match table.dialect {
        Dialect::Postgres => String::new(),
        Dialect::Sqlite => format!("{}_{} ", table.name, column.replace(", ", "_")),
    };
    format!("without it a refresh scans the table: CREATE INDEX {name}ON {} ({column})", table.shown())
}

/// `owns` is a condition over the target alone.
fn check_owns(checker: &mut Checker<'_>, subject: &Subject<'_>) -> Result<(), CheckError> {
    let (Some(owns), Some(target)) = (&subject.block.owns, subject.target) else { return Ok(()) };
    let before = format!("SELECT 1 AS one FROM {} WHERE (", target.sql_name());
    let sql = format!("{before}{}\n)", owns.value);
    let mut text = Text::new(&subject.label, "owns", owns);
    text.sql = &sql;
    text.lines = vec![(before.len(), owns.line)];
    text.nearby = vec![target];
    let Some(described) = checker.describe(&text)? else { return Ok(()) };
    for table in described.reads.keys().filter(|table| **table != target.sql_name()) {
        let what = format!("`owns` reads {}", bare(table));
        checker.mistake(&subject.label, owns.line, &what, "it is a condition over the target's own columns");
    }
    Ok(())
}

fn describe_query(checker: &mut Checker<'_>, subject: &Subject<'_>) -> Result<Option<Described>, CheckError> {
    let label = subject.label.as_str();
    let tables = [subject.source, subject.target];
    let nearby = tables.into_iter().chain(subject.follows.iter().copied()).chain(subject.constant.iter().copied());
    let nearby: Vec<&Table> = nearby.flatten().collect();
    match (&subject.block.source, subject.source) {
        (Query::Select(query), _) => checker.describe(&Text { nearby, ..Text::new(label, "query", query) }),
        (Query::Columns(columns), Some(source)) => {
            let mut sql = String::from("SELECT ");
            let mut lines = Vec::new();
            for (index, (name, expression)) in columns.pairs.iter().enumerate() {
                lines.push((sql.len(), columns.lines.get(index).copied().unwrap_or(columns.line)));
                let name =
                    subject.target.and_then(|target| target.find_column(name)).map_or(name, |column| &column.name);
                let comma = if index + 1 < columns.pairs.len() { ", " } else { "" };
                sql.push_str(&format!("({expression}\n) AS {}{comma}", quoted(name)));
            }
            sql.push_str(&format!(" FROM {}", source.sql_name()));
            let whole = Located { value: sql, line: columns.line };
            checker.describe(&Text { nearby, lines, ..Text::new(label, "columns", &whole) })
        }
        (Query::Columns(_), None) => Ok(None),
    }
}

/// The follow table is read through `by`; `keys` are driving keys, `reads` values of `by`.
fn check_follow(
    checker: &mut Checker<'_>,
    subject: &Subject<'_>,
    follow: &Follow,
    table: Option<&Table>,
) -> Result<(), CheckError> {
    let label = subject.label.as_str();
    let Some(table) = table else { return Ok(()) };
    let by = checker.column(label, follow.by.line, table, &follow.by.value);
    if let Some(by) = &by
        && !table.is_indexed_by(&by.name)
    {
        let what = format!("no index of the follow table {} begins with {}", shown(&table.shown()), shown(&by.name));
        checker.warning(label, follow.by.line, &what, &create_index(table, &by.name));
    }
    let nearby: Vec<&Table> = [Some(table), subject.source, subject.target].into_iter().flatten().collect();
    let keys = Text { changed: Some(table), nearby: nearby.clone(), ..Text::new(label, "keys", &follow.keys) };
    check_key_columns(checker, subject, &keys)?;
    let (Some(reads), Some(source)) = (&follow.reads, subject.source) else {
        if follow.reads.is_none() {
            let what = format!("the follows entry for {} has no `reads`", shown(&follow.table.value));
            let remedy = "add it: without it two writers of this table and of driving rows wait for each other";
            checker.warning(label, follow.line, &what, remedy);
        }
        return Ok(());
    };
    let reads = Text { changed: Some(source), nearby, ..Text::new(label, "reads", reads) };
    if let Some(column) = checker.describe_single(&reads, "values of `by`")? {
        check_kind(checker, &reads, &column, by.as_ref());
    }
    Ok(())
}

/// The text returns driving keys: the key's columns, in its order.
fn check_key_columns(checker: &mut Checker<'_>, subject: &Subject<'_>, text: &Text<'_>) -> Result<(), CheckError> {
    let (Some(key), Some(source)) = (&subject.key, subject.source) else {
        checker.describe(text)?;
        return Ok(());
    };
    let names: Vec<&str> = key.columns.iter().map(|column| column.name.as_str()).collect();
    let returns = match names.as_slice() {
        [_] => String::from("the driving table's key"),
        several => format!("the driving table's key ({})", several.join(", ")),
    };
    let Some(columns) = checker.describe_columns(text, names.len(), &returns)? else { return Ok(()) };
    for (found, name) in columns.iter().zip(names) {
        check_kind(checker, text, found, source.find_column(&quoted(name)));
    }
    Ok(())
}

/// A number is no text: such keys would never meet. Only what both sides know is compared.
fn check_kind(checker: &mut Checker<'_>, text: &Text<'_>, found: &Column, wanted: Option<&Column>) {
    let Some(wanted) = wanted else { return };
    if [found.kind, wanted.kind].contains(&KeyKind::Other) || found.kind == wanted.kind {
        return;
    }
    let what =
        format!("`{}` returns {}, but {} is {}", text.key, found.data_type, shown(&wanted.name), wanted.data_type);
    let line = text.line_of(&found.name);
    checker.mistake(text.label, line, &what, "select the column itself, or cast it");
}

fn check_frozen(checker: &mut Checker<'_>, subject: &Subject<'_>) -> Result<(), CheckError> {
    let (Some(frozen), Some(source)) = (&subject.block.frozen, subject.source) else { return Ok(()) };
    let text =
        Text { parameter: Some(":open_period"), nearby: vec![source], ..Text::new(&subject.label, "frozen", frozen) };
    check_key_columns(checker, subject, &text)
}

/// Key and identity are among the result columns, and a unique index stands behind the identity.
fn check_identity(checker: &mut Checker<'_>, subject: &Subject<'_>, described: &Described) -> Option<Vec<String>> {
    let (block, label, target) = (subject.block, subject.label.as_str(), subject.target?);
    let mistakes_before = checker.mistakes.len();
    for key in block.key.value.target_columns() {
        let Some(column) = target.find_column(key) else { continue };
        if described.find(&column.name).is_none() {
            let what = format!("the key {} is not in the result", shown(&column.name));
            let remedy = "return it from the query: the driving table's key under that name";
            checker.mistake(label, block.key.line, &what, remedy);
        }
    }
    let line = block.identity.line;
    let is_default = block.identity.value.is_empty();
    let identity: Vec<String> = if is_default {
        target.primary_key.clone()
    } else {
        let columns = block.identity.value.iter().map(|name| checker.column(label, line, target, name));
        columns.collect::<Option<Vec<Column>>>()?.into_iter().map(|column| column.name).collect()
    };
    if identity.is_empty() {
        let what = format!("{} has no primary key, so nothing identifies its rows", shown(&target.shown()));
        checker.mistake(label, line, &what, "write identity = [\"…\"] with the columns of a unique index");
    } else if !target.is_unique_on(&identity) {
        let columns = identity.join(", ");
        let what = format!("no unique index of {} is on exactly ({columns})", shown(&target.shown()));
        let remedy = format!("CREATE UNIQUE INDEX {}_identity ON {} ({columns})", target.name, target.shown());
        checker.mistake(label, line, &what, &remedy);
    }
    for column in identity.iter().filter(|column| described.find(column).is_none()) {
        let what = format!("the identity {} is not in the result", shown(column));
        let remedy = match is_default {
            true => "return it from the query, or write identity = [\"…\"] with other columns that are unique",
            false => "return it from the query",
        };
        checker.mistake(label, line, &what, remedy);
    }
    (checker.mistakes.len() == mistakes_before).then_some(identity)
}

/// What the query returns fits into the target, and what the target needs is returned.
fn check_columns(checker: &mut Checker<'_>, subject: &Subject<'_>, described: &Described) {
    let (block, Some(target)) = (subject.block, subject.target) else { return };
    let label = subject.label.as_str();
    let split = block.split.as_ref();
    let is_for_split = |name: &str| {
        split.is_some_and(|split| {
            split.by.eq_ignore_ascii_case(name)
                || split.first.as_ref().is_some_and(|first| first.eq_ignore_ascii_case(name))
        })
    };
    for column in &described.columns {
        let line = line_of_result(block, &column.name);
        match target.find_column(&quoted(&column.name)) {
            None if is_for_split(&column.name) => {}
            None => {
                let what = format!("the result column {} is not in {}", shown(&column.name), shown(&target.shown()));
                let near = super::column_remedy(&column.name, [target]);
                checker.mistake(label, line, &what, &near.replace("or add the column first", "or leave it out"));
            }
            Some(found) if found.is_minted && !is_fixed(block, target, &found.name) => {
                let what = format!("the result column {} is GENERATED ALWAYS AS IDENTITY", shown(&column.name));
                let remedy =
                    "leave it out, so that the table mints it, or make it part of `identity`: it can never be changed";
                checker.mistake(label, line, &what, remedy);
            }
            Some(found) if found.generated => {
                let what = format!("the result column {} is generated by the database", shown(&column.name));
                checker.mistake(label, line, &what, "leave it out: no statement may write it");
            }
            Some(_) => {}
        }
    }
    if !block.backward.insert {
        return;
    }
    for column in &target.columns {
        if column.not_null && !column.has_default && described.find(&column.name).is_none() {
            let what = format!(
                "nobody fills {} of {}, which is NOT NULL without a default",
                shown(&column.name),
                shown(&target.shown())
            );
            checker.mistake(label, block.line, &what, "return it from the query, or give the column a default");
        }
    }
}

/// True if the column is part of the identity, which a refresh never changes.
fn is_fixed(block: &Block, target: &Table, name: &str) -> bool {
    match block.identity.value.as_slice() {
        [] => target.primary_key.iter().any(|column| column == name),
        written => written.iter().any(|column| target.find_column(column).is_some_and(|found| found.name == name)),
    }
}

/// The line on which a result column is named.
fn line_of_result(block: &Block, name: &str) -> usize {
    match &block.source {
        Query::Select(query) => Text::new("", "query", query).line_of(name),
        Query::Columns(columns) => {
            let index =
                columns.pairs.iter().position(|(column, _)| column.trim_matches('"').eq_ignore_ascii_case(name));
            index.and_then(|index| columns.lines.get(index)).copied().unwrap_or(columns.line)
        }
    }
}

/// The amount is an integer column of the target; amount, weight and first are returned.
fn check_split(checker: &mut Checker<'_>, subject: &Subject<'_>, described: &Described) {
    let Some(split) = &subject.block.split else { return };
    let label = subject.label.as_str();
    let roles = [("amount", Some(&split.amount)), ("by", Some(&split.by)), ("first", split.first.as_ref())];
    for (role, name) in roles {
        let Some(name) = name else { continue };
        let Some(column) = described.find(name) else {
            let what = format!("the split's `{role}`, {}, is not in the result", shown(name));
            checker.mistake(label, split.line, &what, "return it from the query");
            continue;
        };
        let is_known = checker.dialect == Dialect::Postgres;
        if is_known && role == "first" && column.data_type != "boolean" {
            let what = format!("the split's `first`, {}, is {}", shown(name), column.data_type);
            checker.mistake(label, split.line, &what, "return a boolean");
        } else if is_known && role == "amount" && split.scale.is_some() {
            basis::check_numeric(checker, label, split, column, "the result");
        } else if is_known && role != "first" && column.kind != KeyKind::Integer {
            let what = format!("the split's `{role}`, {}, is {}", shown(name), column.data_type);
            checker.mistake(
                label,
                split.line,
                &what,
                "return an integer: amounts are whole minor units, weights whole numbers (NUMERIC amounts: write `scale` in the split)",
            );
        }
    }
    let target = subject.target.and_then(|target| Some((target, target.find_column(&split.amount)?)));
    match target {
        Some((target, column)) if split.scale.is_some() => {
            basis::check_numeric(checker, label, split, column, &shown(&target.shown()));
        }
        Some((target, column)) if column.kind != KeyKind::Integer => {
            let what = format!(
                "{} of {} is {}, not an integer",
                shown(&column.name),
                shown(&target.shown()),
                column.data_type
            );
            checker.mistake(label, split.line, &what, "make it an integer of whole minor units");
        }
        _ => {}
    }
    basis::check(checker, subject, described, split);
}

/// Every table that the query reads is one whose changes are seen, or need not be.
fn check_reads(checker: &mut Checker<'_>, subject: &Subject<'_>, described: &Described) {
    let (block, label) = (subject.block, subject.label.as_str());
    let own = [subject.source, subject.target];
    let known = own.iter().chain(&subject.follows).chain(&subject.constant).flatten();
    let known: Vec<String> = known.map(|table| table.sql_name()).collect();
    // A mistyped follows entry has been reported; the table that it means would be reported once more.
    let is_complete = subject.follows.iter().chain(&subject.constant).all(Option::is_some);
    for table in described.reads.keys().filter(|table| is_complete && !known.contains(table)) {
        let name = bare(table);
        let line = line_of_result(block, name.rsplit('.').next().unwrap_or(&name));
        let what =
            format!("the query reads {}, but no follows entry says which keys a change there touches", shown(&name));
        let remedy = format!(
            "add a follows entry for it, or constant = [\"{name}\"] if its changes shall not touch existing rows"
        );
        checker.mistake(label, line, &what, &remedy);
    }
    let named = block.follows.iter().map(|follow| (&follow.table, follow.line)).zip(&subject.follows);
    let constant = block.constant.iter().map(|name| (name, name.line)).zip(&subject.constant);
    for ((name, line), table) in named.chain(constant) {
        if table.is_some_and(|table| !described.reads.contains_key(&table.sql_name())) {
            let what = format!("the query does not read {}", shown(&name.value));
            checker.warning(label, line, &what, "remove the entry, unless the query reads it through a function");
        }
    }
}

/// `"public"."videos"` → `videos`; other schemas stay.
fn bare(sql_name: &str) -> String {
    let plain = sql_name.replace("\".\"", ".").trim_matches('"').to_owned();
    plain.strip_prefix("public.").map(str::to_owned).unwrap_or(plain)
}

/// Has the database plan what a refresh does: types that do not fit are found here.
fn check_write(
    checker: &mut Checker<'_>,
    subject: &Subject<'_>,
    described: &Described,
    identity: &[String],
) -> Result<(), CheckError> {
    let (block, Some(target)) = (subject.block, subject.target) else { return Ok(()) };
    let Query::Select(query) = &block.source else { return Ok(()) };
    let writable = |column: &&Column| target.find_column(&quoted(&column.name)).is_some_and(|column| !column.generated);
    let columns: Vec<String> = described.columns.iter().filter(writable).map(|column| quoted(&column.name)).collect();
    let identity: Vec<String> = identity.iter().map(|column| quoted(column)).collect();
    let is_minted = |column: &Column| target.find_column(&quoted(&column.name)).is_some_and(|column| column.is_minted);
    let overriding = if described.columns.iter().any(is_minted) { " OVERRIDING SYSTEM VALUE" } else { "" };
    let sql = format!(
        "INSERT INTO {} ({columns}){overriding} SELECT {columns} FROM {} q WHERE 1 = 1 ON CONFLICT ({}) DO NOTHING",
        target.sql_name(),
        subquery(&query.value),
        identity.join(", "),
        columns = columns.join(", "),
    );
    if let Err(refusal) = checker.inspector.try_write(&sql)? {
        let what = format!("the result does not fit into {}: {}", shown(&target.shown()), refusal.message);
        checker.mistake(&subject.label, query.line, &what, "return what the target's columns take");
    }
    Ok(())
}
