//! Which group a user belongs to: the change file's `group_of_user`, asked for one user or for a whole cohort.
//!
//! Users' ids arrive as text and are bound as values, never written into the SQL. On PostgreSQL the database itself is asked for
//! the type that the query gives `:user`; ids that cannot be of that type are unknown users, not errors.

use std::collections::{HashMap, HashSet};

use super::error::RoutingError;
use super::routed::RoutedChange;
use super::side::GroupId;
use crate::database::{DatabaseConnection, DatabaseError, Value};
use crate::primitives::Dialect;
use crate::sql::scan::{parameters, replace_parameter};

/// Users looked up by one statement.
const BATCH_USERS: usize = 10_000;
/// The parameter of `group_of_user`.
const USER: &str = ":user";

/// `group_of_user` ready to be asked.
#[derive(Debug, Clone)]
pub(super) struct GroupLookup {
    one: String,
    many: String,
    user: UserType,
}

/// What a user's id is to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
enum UserType {
    Text,
    /// An integer between these.
    Integer(i64, i64),
    Uuid,
    /// SQLite compares by the column's affinity; a column without one is asked again with an integer.
    Dynamic,
}

impl GroupLookup {
    pub fn prepare(connection: &mut DatabaseConnection, change: &RoutedChange) -> Result<Self, RoutingError> {
        let query = change.group_of_user.trim().trim_end_matches(';');
        if !parameters(query).iter().any(|parameter| parameter.name == USER) {
            return Err(RoutingError::NoUserParameter(change.name.clone()));
        }
        let with = |replacement: &str| replace_parameter(query, USER, replacement);
        let (user, cast_to) = match connection.dialect() {
            Dialect::Sqlite => (UserType::Dynamic, None),
            Dialect::Postgres => {
                let kind = parameter_type(connection, &with("$1"))
                    .map_err(|source| RoutingError::GroupOfUser { change: change.name.clone(), source })?;
                let user = UserType::of(&kind)
                    .ok_or_else(|| RoutingError::UserType { change: change.name.clone(), kind: kind.clone() })?;
                // `character` alone would be cut to one character.
                (user, Some(if kind == "character" { String::from("bpchar") } else { kind }))
            }
        };
        let (one, value, users) = match &cast_to {
            None => (String::from("$1"), String::from("asked.value"), "json_each($1) AS asked"),
            Some(kind) => (
                format!("CAST($1 AS {kind})"),
                format!("CAST(asked.value AS {kind})"),
                "json_array_elements_text(CAST($1 AS json)) AS asked(value)",
            ),
        };
        let answer = |query: String| {
            format!(
                "WITH changeover_answer(group_id) AS (\n{query}\n) \
                 SELECT CAST(group_id AS TEXT) AS group_id FROM changeover_answer LIMIT 1"
            )
        };
        let many =
            format!("SELECT CAST(asked.value AS TEXT) AS user_id, ({}) AS group_id FROM {users}", answer(with(&value)));
        Ok(Self { one: answer(with(&one)), many, user })
    }

    /// The group of one user; `None` if the application knows none.
    pub fn find(&self, connection: &mut DatabaseConnection, user: &str) -> Result<Option<GroupId>, RoutingError> {
        if !self.user.may_be(user) {
            return Ok(None);
        }
        let mut row = connection.find_row(&self.one, &[user.into()])?;
        if row.is_none()
            && self.user == UserType::Dynamic
            && let Some(number) = canonical_integer(user)
        {
            row = connection.find_row(&self.one, &[Value::Integer(number)])?;
        }
        let Some(row) = row else { return Ok(None) };
        row.find_text("group_id")?.map(|text| GroupId::new(&text)).transpose()
    }

    /// The groups of many users.
    pub fn widen(
        &self,
        connection: &mut DatabaseConnection,
        users: impl Iterator<Item = String>,
    ) -> Result<Widened, RoutingError> {
        let mut widened = Widened::default();
        let mut users = users.peekable();
        while users.peek().is_some() {
            let batch: Vec<String> = users.by_ref().take(BATCH_USERS).collect();
            widened.users += batch.len();
            let batch: Vec<String> = batch.into_iter().filter(|user| self.user.may_be(user)).collect();
            let mut without_group = self.ask(connection, &serde_json::json!(batch), &mut widened)?;
            if self.user == UserType::Dynamic {
                without_group.retain(|user| canonical_integer(user).is_some());
                let numbers: Vec<i64> = without_group.iter().filter_map(|user| canonical_integer(user)).collect();
                self.ask(connection, &serde_json::json!(numbers), &mut widened)?;
            }
        }
        Ok(widened)
    }

    /// The group of each of these users; those without one are left out.
    pub fn groups_of(
        &self,
        connection: &mut DatabaseConnection,
        users: &[&str],
    ) -> Result<HashMap<String, GroupId>, RoutingError> {
        let mut found = HashMap::new();
        let mut ask = |users: serde_json::Value| -> Result<(), RoutingError> {
            for row in connection.query(&self.many, &[users.to_string().into()])? {
                if let Some(group) = row.find_text("group_id")? {
                    found.insert(row.text("user_id")?, GroupId::new(&group)?);
                }
            }
            Ok(())
        };
        let users: Vec<&&str> = users.iter().filter(|user| self.user.may_be(user)).collect();
        if users.is_empty() {
            return Ok(found);
        }
        ask(serde_json::json!(users))?;
        if self.user == UserType::Dynamic {
            // As for one user: a column without an affinity is asked again with integers.
            let numbers: Vec<i64> = users.iter().filter_map(|user| canonical_integer(user)).collect();
            ask(serde_json::json!(numbers))?;
        }
        Ok(found)
    }

    /// Asks for one batch and returns the users for whom there is no group.
    fn ask(
        &self,
        connection: &mut DatabaseConnection,
        users: &serde_json::Value,
        widened: &mut Widened,
    ) -> Result<Vec<String>, RoutingError> {
        let mut without_group = Vec::new();
        for row in connection.query(&self.many, &[users.to_string().into()])? {
            match row.find_text("group_id")? {
                Some(group) => {
                    widened.users_with_group += 1;
                    widened.groups.insert(GroupId::new(&group)?);
                }
                None => without_group.push(row.text("user_id")?),
            }
        }
        Ok(without_group)
    }
}

/// A cohort of users as the groups that they belong to.
#[derive(Debug, Clone, Default)]
pub(super) struct Widened {
    pub users: usize,
    pub users_with_group: usize,
    pub groups: HashSet<GroupId>,
}

impl UserType {
    /// From PostgreSQL's name of the type.
    fn of(kind: &str) -> Option<Self> {
        match kind {
            "smallint" => Some(Self::Integer(i64::from(i16::MIN), i64::from(i16::MAX))),
            "integer" => Some(Self::Integer(i64::from(i32::MIN), i64::from(i32::MAX))),
            "bigint" => Some(Self::Integer(i64::MIN, i64::MAX)),
            "uuid" => Some(Self::Uuid),
            "text" | "character varying" | "character" | "citext" => Some(Self::Text),
            _ => None,
        }
    }

    /// Whether a text can be an id of this type, so that the database will not fail to read it.
    fn may_be(&self, user: &str) -> bool {
        match self {
            Self::Text | Self::Dynamic => !user.contains('\0'),
            Self::Integer(least, most) => canonical_integer(user).is_some_and(|id| (*least..=*most).contains(&id)),
            Self::Uuid => is_uuid(user),
        }
    }
}

/// The integer of which `text` is the one decimal form.
fn canonical_integer(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The type that PostgreSQL infers for `$1`.
fn parameter_type(connection: &mut DatabaseConnection, query: &str) -> Result<String, DatabaseError> {
    // In a transaction, so that a pooler in between keeps us on one connection.
    connection.in_transaction(|connection| {
        connection.batch(&format!("PREPARE changeover_probe AS\n{query}"))?;
        let row = connection.get_row(
            "SELECT CAST(parameter_types[1] AS text) AS kind FROM pg_prepared_statements WHERE name = 'changeover_probe'",
            &[],
        );
        connection.batch("DEALLOCATE changeover_probe")?;
        row?.text("kind")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_the_column_cannot_hold_is_an_unknown_user() {
        let integer = UserType::of("integer").unwrap();
        for (id, may_be) in
            [("42", true), ("-1", true), ("042", false), ("2147483648", false), ("x", false), ("", false)]
        {
            assert_eq!(integer.may_be(id), may_be, "{id}");
        }
        assert!(UserType::Uuid.may_be("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"));
        assert!(!UserType::Uuid.may_be("a0eebc999c0b-4ef8-bb6d-6bb9bd380a11-"));
        assert!(!UserType::Text.may_be("a\0b"));
        assert_eq!(UserType::of("double precision"), None);
    }
}
