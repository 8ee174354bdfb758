//! Which result columns of a block's query are values of the driving row alone. A division that keeps its basis takes these from the row
//! as it is now: who pays, and by what weight, is kept; how much, and in which currency, is what the row says.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Ident, Select, SelectItem, SetExpr, TableFactor, visit_expressions};

use super::model::{DrivingModel, SourceModel, trimmed};
use super::names::quoted;
use super::rewrite::parse_select;
use crate::primitives::Dialect;

/// Result columns that are expressions over the driving row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnColumns {
    /// What the expressions call the driving row, as SQL.
    pub alias: String,
    /// (result column as the query names it, expression)
    pub columns: Vec<(String, String)>,
}

/// The driving row's own columns among the results. A query that is more than one SELECT tells nothing; then only columns that are called
/// as the driving table's are, and only those in `by_name`.
#[must_use]
pub fn own_columns(
    source: &SourceModel,
    driving: &DrivingModel,
    key: &[String],
    by_name: &[&str],
    dialect: Dialect,
) -> OwnColumns {
    let mut own = match source {
        SourceModel::Columns(pairs) => OwnColumns { alias: quoted(&driving.table.name), columns: pairs.clone() },
        SourceModel::Select(text) => of_select(trimmed(text), driving, key, dialect)
            .unwrap_or_else(|| OwnColumns { alias: String::from("co_d"), columns: Vec::new() }),
    };
    for name in by_name {
        let is_known = own.columns.iter().any(|(column, _)| column.eq_ignore_ascii_case(name));
        let found = driving.table.columns.iter().find(|column| column.eq_ignore_ascii_case(name));
        if let (false, Some(column)) = (is_known, found) {
            own.columns.push(((*name).to_owned(), format!("{}.{}", own.alias, quoted(column))));
        }
    }
    own
}

fn of_select(text: &str, driving: &DrivingModel, key: &[String], dialect: Dialect) -> Option<OwnColumns> {
    let query = parse_select(text, dialect).ok()?;
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    if query.with.is_some() {
        return None;
    }
    let alias = alias_of_key(select, driving, key)?;
    let items = select.projection.iter().filter_map(|item| {
        let (name, expression) = named(item)?;
        is_own(expression, &alias).then(|| (name.value.clone(), expression.to_string()))
    });
    Some(OwnColumns { columns: items.collect(), alias: alias.to_string() })
}

/// What the query calls the row whose key it returns as the key, if that is a row of the driving table.
fn alias_of_key(select: &Select, driving: &DrivingModel, key: &[String]) -> Option<Ident> {
    let (column, target) = (&driving.key.first()?.name, key.first()?);
    let expression =
        select.projection.iter().filter_map(named).find(|(name, _)| name.value.eq_ignore_ascii_case(target))?.1;
    let Expr::CompoundIdentifier(parts) = expression else { return None };
    let [alias, found] = parts.as_slice() else { return None };
    if !found.value.eq_ignore_ascii_case(column) {
        return None;
    }
    let relations = select
        .from
        .iter()
        .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
    let is_driving = |factor: &&TableFactor| match factor {
        TableFactor::Table { name, alias: given, args: None, .. } => {
            let Some(last) = name.0.last().and_then(|part| part.as_ident()) else { return false };
            let called = given.as_ref().map_or(last, |given| &given.name);
            called.value.eq_ignore_ascii_case(&alias.value) && last.value.eq_ignore_ascii_case(&driving.table.name)
        }
        _ => false,
    };
    relations.filter(is_driving).count().eq(&1).then(|| alias.clone())
}

fn named(item: &SelectItem) -> Option<(&Ident, &Expr)> {
    match item {
        SelectItem::ExprWithAlias { expr, alias } => Some((alias, expr)),
        SelectItem::UnnamedExpr(expr @ Expr::CompoundIdentifier(parts)) => Some((parts.last()?, expr)),
        _ => None,
    }
}

/// True for an expression whose every column is one of the row that `alias` names, and that does no more than compute.
fn is_own(expression: &Expr, alias: &Ident) -> bool {
    let mut columns: usize = 0;
    let visited = visit_expressions(expression, |part| match part {
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [relation, _] if relation.value.eq_ignore_ascii_case(&alias.value) => {
                columns += 1;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        },
        Expr::Value(_) | Expr::BinaryOp { .. } | Expr::UnaryOp { .. } | Expr::Nested(_) | Expr::Cast { .. } => {
            ControlFlow::Continue(())
        }
        _ => ControlFlow::Break(()),
    });
    visited == ControlFlow::Continue(()) && columns > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::keys::KeyColumn;
    use crate::sql::model::TableModel;

    fn driving() -> DrivingModel {
        let columns = ["id", "user_id", "amount", "currency"].map(String::from).to_vec();
        DrivingModel {
            table: TableModel {
                sql: String::from("\"charges\""),
                name: String::from("charges"),
                columns,
                references: Vec::new(),
                partitions: Vec::new(),
            },
            key: vec![KeyColumn {
                name: String::from("id"),
                sql_type: String::new(),
                is_integer: true,
                nullable: false,
            }],
            key_is_unique: true,
        }
    }

    fn own(query: &str) -> (String, Vec<String>) {
        let source = SourceModel::Select(query.to_owned());
        let own = own_columns(&source, &driving(), &[String::from("charge_id")], &["amount"], Dialect::Sqlite);
        (own.alias, own.columns.into_iter().map(|(name, expression)| format!("{name}={expression}")).collect())
    }

    #[test]
    fn values_of_the_driving_row_are_told_from_what_is_looked_up() {
        let (alias, columns) = own(
            "SELECT c.id AS charge_id, m.user_id AS payer, m.weight, c.amount + 1 AS amount, c.currency, (m.user_id = c.user_id) AS up, \
             (SELECT max(id) FROM x) AS other FROM charges c JOIN members m ON m.account = c.account",
        );
        assert_eq!(alias, "c");
        assert_eq!(columns, ["charge_id=c.id", "amount=c.amount + 1", "currency=c.currency"]);
    }

    #[test]
    fn a_query_of_several_selects_tells_the_amount_by_its_name() {
        let (alias, columns) = own("SELECT c.id AS charge_id, c.amount FROM charges c UNION ALL SELECT 1, 2");
        assert_eq!((alias.as_str(), columns), ("co_d", vec![String::from("amount=co_d.\"amount\"")]));
        let (_, columns) = own("SELECT o.id AS charge_id, o.n AS amount FROM other o");
        assert_eq!(columns, ["amount=co_d.\"amount\""], "not the driving table's row");
    }
}
