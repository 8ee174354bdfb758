//! What SQL generation has to know of the application's tables: plain data, read by `translation::catalogue`.

use std::collections::BTreeMap;

use super::names::quoted;
use crate::primitives::Dialect;

/// What a key's values are, as far as generated SQL cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    Integer,
    Text,
    Uuid,
    Other,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// SQL text for a cast: `bigint`, `numeric(12,2)`. SQLite: the declared type, which may be empty.
    pub data_type: String,
    /// What `data_type` is below its domains. SQLite: the same.
    pub base_type: String,
    pub not_null: bool,
    /// True if an INSERT may leave the column out: a default, an identity, a rowid, or a generated column.
    pub has_default: bool,
    /// True if no statement may write the column: GENERATED ALWAYS AS an expression.
    pub generated: bool,
    /// PostgreSQL: GENERATED ALWAYS AS IDENTITY. A row may bring a value of its own, but it can never be changed.
    pub is_minted: bool,
    /// False if two values may be equal to the database and yet differ: text without regard to case, json, numeric without a scale.
    pub is_exact: bool,
    /// True if its values can be sorted and gathered into an array, as a key's must be.
    pub is_ordered: bool,
    /// PostgreSQL: the collation as SQL, if it is not the database's default.
    pub collation: Option<String>,
    pub kind: KeyKind,
}

/// A table, or a view that was named where a table belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub dialect: Dialect,
    /// `None` on SQLite.
    pub schema: Option<String>,
    pub name: String,
    pub columns: Vec<Column>,
    /// Columns of the primary key in key order; empty if there is none.
    pub primary_key: Vec<String>,
    /// Columns of every index that can arbitrate ON CONFLICT: unique, full, not deferred, on plain columns. With the primary key.
    pub unique_indexes: Vec<Vec<String>>,
    /// Leading plain columns of every full index, unique or not.
    pub indexes: Vec<Vec<String>>,
    /// False for views, foreign and virtual tables, which cannot have the triggers that a source table needs.
    pub is_ordinary: bool,
    /// The tables that its foreign keys refer to, as SQL.
    pub references: Vec<String>,
    /// PostgreSQL: every table below a partitioned one, as SQL.
    pub partitions: Vec<String>,
    /// PostgreSQL: why writes to the table cannot be seen as a whole, if so: it is a partition, or it inherits.
    pub obstacle: Option<String>,
    /// SQLite: a table WITHOUT ROWID.
    pub is_without_rowid: bool,
}

impl Table {
    /// The name as SQL: quoted, and qualified with its schema where there is one.
    #[must_use]
    pub fn sql_name(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(&self.name)),
            None => quoted(&self.name),
        }
    }

    /// The name for people: `accounts`, and `billing.accounts` outside of `public`.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.schema {
            Some(schema) if schema != "public" => format!("{schema}.{}", self.name),
            _ => self.name.clone(),
        }
    }

    /// The column that `name` means, quoted or not, under the case rules of the database.
    #[must_use]
    pub fn find_column(&self, name: &str) -> Option<&Column> {
        let part = NamePart::parse(name);
        self.columns.iter().find(|column| part.matches(&column.name, self.dialect))
    }

    /// True if exactly these columns, in any order, are a key that ON CONFLICT can use.
    #[must_use]
    pub fn is_unique_on(&self, columns: &[String]) -> bool {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        let wanted = sorted(columns);
        self.unique_indexes.iter().any(|index| sorted(index) == wanted)
    }

    /// True if an index begins with this column.
    #[must_use]
    pub fn is_indexed_by(&self, column: &str) -> bool {
        self.indexes.iter().any(|index| index.first().is_some_and(|first| first == column))
    }
}

/// The tables that a change file names, by the name as written there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    pub tables: BTreeMap<String, Table>,
}

impl Catalogue {
    /// The table that the change file calls `written`.
    #[must_use]
    pub fn find(&self, written: &str) -> Option<&Table> {
        self.tables.get(written)
    }
}

/// A name as written: `accounts`, `billing.accounts`, `"Billing"."Accounts"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    pub schema: Option<NamePart>,
    pub table: NamePart,
}

/// One part of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePart {
    pub text: String,
    pub is_quoted: bool,
}

impl TableName {
    /// `None` if there are more than two parts or one is empty.
    #[must_use]
    pub fn parse(written: &str) -> Option<Self> {
        let mut parts = split_outside_quotes(written.trim()).into_iter().map(|part| NamePart::parse(&part));
        let (first, second) = (parts.next()?, parts.next());
        if parts.next().is_some() || first.text.is_empty() || second.as_ref().is_some_and(|part| part.text.is_empty()) {
            return None;
        }
        Some(match second {
            Some(table) => Self { schema: Some(first), table },
            None => Self { schema: None, table: first },
        })
    }
}

impl NamePart {
    #[must_use]
    pub fn parse(written: &str) -> Self {
        let written = written.trim();
        match written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inside) => Self { text: inside.replace("\"\"", "\""), is_quoted: true },
            None => Self { text: written.to_owned(), is_quoted: false },
        }
    }

    /// The name that the database looks for: PostgreSQL folds what is not quoted.
    #[must_use]
    pub fn folded(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Postgres if !self.is_quoted => self.text.to_lowercase(),
            _ => self.text.clone(),
        }
    }

    #[must_use]
    pub fn matches(&self, name: &str, dialect: Dialect) -> bool {
        match dialect {
            Dialect::Postgres => self.folded(dialect) == name,
            Dialect::Sqlite => self.text.eq_ignore_ascii_case(name),
        }
    }
}

fn split_outside_quotes(written: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_inside = false;
    for character in written.chars() {
        is_inside ^= character == '"';
        match parts.last_mut() {
            Some(last) if is_inside || character != '.' => last.push(character),
            _ => parts.push(String::new()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_case_rules_of_their_database() {
        let name = TableName::parse("Billing.\"My.\"\"Table\"").unwrap();
        assert_eq!(name.schema.unwrap().folded(Dialect::Postgres), "billing");
        assert_eq!(name.table.folded(Dialect::Postgres), "My.\"Table");
        for bad in ["", ".", "a.", "a.b.c"] {
            assert_eq!(TableName::parse(bad), None, "{bad}");
        }
        let plain = NamePart::parse("Accounts");
        assert!(plain.matches("accounts", Dialect::Postgres) && !plain.matches("Accounts", Dialect::Postgres));
        assert!(plain.matches("ACCOUNTS", Dialect::Sqlite));
    }
}
