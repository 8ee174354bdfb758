//! Which columns of a driving table are a block's key: its primary key, a unique index over NOT NULL columns where it has none, or the
//! columns that the block names.

use super::catalogue::{Column, KeyKind, Table};
use super::keys::KeyColumn;
use super::names::quoted;
use crate::change::{Key, shown};

/// A driving table's key as a block uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrivingKey {
    pub columns: Vec<KeyColumn>,
    /// False if several rows may have the same key.
    pub is_unique: bool,
}

/// Why a driving table has no such key: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct KeyFault {
    pub what: String,
    pub remedy: String,
}

/// The key of `table` that a block's `key` means.
///
/// # Errors
/// A table without any key of its own, a `key` of another number of columns, an unknown column, and a type without an order.
pub fn driving_key(table: &Table, key: &Key) -> Result<DrivingKey, KeyFault> {
    let names = match key {
        Key::Own(targets) => own_key(table, targets.len())?,
        Key::By(pairs) => {
            let found = pairs.iter().map(|(_, driving)| column(table, driving).map(|column| column.name.clone()));
            found.collect::<Result<_, _>>()?
        }
    };
    let columns: Vec<KeyColumn> =
        names.iter().map(|name| key_column(table, column(table, &quoted(name))?)).collect::<Result<_, _>>()?;
    Ok(DrivingKey { is_unique: is_key_of(table, &names), columns })
}

/// Every set of columns that has one row for each value: the primary key first, then unique indexes by width and by their columns.
#[must_use]
pub fn candidates(table: &Table) -> Vec<&Vec<String>> {
    let mut unique: Vec<&Vec<String>> = table
        .unique_indexes
        .iter()
        .filter(|index| !index.is_empty() && **index != table.primary_key && is_not_null(table, index))
        .collect();
    unique.sort_by_key(|index| (index.len(), *index));
    unique.dedup();
    let primary = (!table.primary_key.is_empty()).then_some(&table.primary_key);
    primary.into_iter().chain(unique).collect()
}

fn own_key(table: &Table, width: usize) -> Result<Vec<String>, KeyFault> {
    let name = shown(&table.shown());
    let candidates = candidates(table);
    // A primary key is the key, whatever other index is there.
    let own =
        if table.primary_key.is_empty() { candidates.as_slice() } else { candidates.get(..1).unwrap_or_default() };
    if let Some(found) = own.iter().find(|columns| columns.len() == width) {
        return Ok((*found).clone());
    }
    let Some(first) = own.first() else {
        return Err(KeyFault {
            what: format!(
                "the driving table {name} has neither a primary key nor a unique index over NOT NULL columns"
            ),
            remedy: String::from(
                "add one, or write key = { target_column = \"driving column\" } for columns that need not be unique",
            ),
        });
    };
    Err(KeyFault {
        what: format!(
            "the key of the driving table {name} is ({}), but `key` has {width} column{}",
            first.join(", "),
            if width == 1 { "" } else { "s" }
        ),
        remedy: match first.as_slice() {
            [_] => String::from("write key = \"the target's column that holds it\""),
            several => format!(
                "write key = [{}] with the target's columns that hold it, in this order",
                vec!["\"…\""; several.len()].join(", ")
            ),
        },
    })
}

fn column<'t>(table: &'t Table, written: &str) -> Result<&'t Column, KeyFault> {
    table.find_column(written).ok_or_else(|| KeyFault {
        what: format!("the driving table {} has no column {}", shown(&table.shown()), shown(written)),
        remedy: String::from("name a column of the driving table on the right of each pair in `key`"),
    })
}

fn key_column(table: &Table, column: &Column) -> Result<KeyColumn, KeyFault> {
    if !column.is_ordered {
        return Err(KeyFault {
            what: format!(
                "{} of the driving table {} is {}, which cannot be a key",
                shown(&column.name),
                shown(&table.shown()),
                column.data_type
            ),
            remedy: String::from("a key's columns have a type with an order, and no arrays: name others"),
        });
    }
    Ok(KeyColumn {
        name: column.name.clone(),
        sql_type: if column.base_type.is_empty() { String::from("text") } else { column.base_type.clone() },
        is_integer: column.kind == KeyKind::Integer,
        nullable: !column.not_null,
    })
}

/// True if no two rows have the same values in these columns.
fn is_key_of(table: &Table, columns: &[String]) -> bool {
    candidates(table).iter().any(|key| key.iter().all(|column| columns.contains(column)))
}

fn is_not_null(table: &Table, columns: &[String]) -> bool {
    columns.iter().all(|name| table.columns.iter().any(|column| column.name == *name && column.not_null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::Dialect;

    fn table(primary_key: &[&str], unique: &[&[&str]], nullable: &[&str]) -> Table {
        let names = |columns: &[&str]| columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let column = |name: &str| Column {
            name: name.to_owned(),
            data_type: String::from("bigint"),
            base_type: String::from("bigint"),
            not_null: !nullable.contains(&name),
            has_default: false,
            generated: false,
            is_minted: false,
            is_exact: true,
            collation: None,
            is_ordered: name != "json",
            kind: KeyKind::Integer,
        };
        let primary = (!primary_key.is_empty()).then(|| names(primary_key));
        Table {
            dialect: Dialect::Postgres,
            schema: Some(String::from("public")),
            name: String::from("t"),
            columns: ["a", "b", "c", "json"].map(column).to_vec(),
            primary_key: names(primary_key),
            unique_indexes: primary.into_iter().chain(unique.iter().map(|index| names(index))).collect(),
            indexes: Vec::new(),
            is_ordinary: true,
            references: Vec::new(),
            partitions: Vec::new(),
            obstacle: None,
            is_without_rowid: false,
        }
    }

    fn own(width: usize) -> Key {
        Key::Own(vec![String::from("x"); width])
    }

    fn by(columns: &[&str]) -> Key {
        Key::By(columns.iter().map(|column| (String::from("x"), (*column).to_owned())).collect())
    }

    fn found(table: &Table, key: &Key) -> (Vec<String>, bool) {
        let found = driving_key(table, key).unwrap();
        (found.columns.into_iter().map(|column| column.name).collect(), found.is_unique)
    }

    #[test]
    fn a_table_without_a_primary_key_is_keyed_by_its_narrowest_unique_index() {
        let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(found(&table(&["b", "a"], &[&["c"]], &[]), &own(2)), (columns(&["b", "a"]), true));
        assert_eq!(found(&table(&[], &[&["b", "c"], &["c"], &["b"]], &[]), &own(1)), (columns(&["b"]), true));
        assert_eq!(found(&table(&[], &[&["b", "c"], &["c"]], &[]), &own(2)), (columns(&["b", "c"]), true));
        assert_eq!(found(&table(&[], &[&["b"], &["c"]], &["b"]), &own(1)), (columns(&["c"]), true));
        let fault = driving_key(&table(&["a"], &[&["b", "c"]], &[]), &own(2)).unwrap_err().to_string();
        assert!(fault.contains("is (a), but `key` has 2 columns; write key = \"the target's"), "{fault}");
        let fault = driving_key(&table(&[], &[&["b"]], &["b"]), &own(1)).unwrap_err().to_string();
        assert!(fault.contains("neither a primary key nor a unique index"), "{fault}");
    }

    #[test]
    fn named_columns_are_unique_only_if_they_contain_a_key() {
        let table = table(&["a", "b"], &[&["c"]], &[]);
        assert!(!found(&table, &by(&["b"])).1);
        assert!(found(&table, &by(&["b", "a"])).1);
        assert!(found(&table, &by(&["c", "a"])).1);
        assert!(driving_key(&table, &by(&["d"])).is_err());
        assert!(driving_key(&table, &by(&["json"])).unwrap_err().what.contains("cannot be a key"));
    }
}
