//! What a bill run reads: the charges of one period, and for each of them its rows in the other queries of `[allocation]`. The view that
//! it reads is not there before the change is, so its steps are explained one by one.

use super::{Scan, postgres, sqlite};
use crate::change::{Allocation, ChangeFile, Located, Mistake};
use crate::database::{DatabaseConnection, DatabaseError, Dialect};
use crate::sql::effective::{is_looked_up_by_key, subquery};
use crate::sql::model::ChangeModel;

const LABEL: &str = "[allocation]";

/// A query, and what its rows are found by.
type Step<'a> = (&'a str, &'a Located<String>, &'a str);

pub(super) fn check(
    connection: &mut DatabaseConnection,
    model: &ChangeModel,
    file: &ChangeFile,
) -> Result<Vec<Mistake>, DatabaseError> {
    let Some(allocation) = &file.allocation else { return Ok(Vec::new()) };
    let mut warnings = Vec::new();
    for (key, query, column) in steps(allocation) {
        if model.dialect == Dialect::Sqlite
            && ["group", "reverses"].contains(&key)
            && !is_looked_up_by_key(&query.value)
        {
            warnings.push(computed_whole(key, query));
            continue;
        }
        let sql = question(model.dialect, allocation, query, column);
        let plan = match model.dialect {
            Dialect::Postgres => postgres::explain_text(connection, model, &sql)?,
            Dialect::Sqlite => sqlite::explain_text(connection, &sql)?,
        };
        warnings.extend(plan.scans.iter().map(|scan| read_whole(model.dialect, (key, query, column), scan)));
    }
    Ok(warnings)
}

fn steps(allocation: &Allocation) -> Vec<Step<'_>> {
    let mut steps = vec![
        ("charges", &allocation.charges, "period"),
        ("old", &allocation.old, "charge_id"),
        ("new", &allocation.new, "charge_id"),
        ("group", &allocation.group, "charge_id"),
    ];
    if let Some(reverses) = &allocation.reverses {
        steps.push(("reverses", reverses, "charge_id"));
        steps.push(("charges", &allocation.charges, "charge_id"));
    }
    steps
}

fn question(dialect: Dialect, allocation: &Allocation, query: &Located<String>, column: &str) -> String {
    let value = match (dialect, column) {
        (_, "period") => String::from("'2000-01'"),
        (Dialect::Sqlite, _) => String::from("1"),
        // Of whichever type it is. The first row is found without reading the others.
        (Dialect::Postgres, _) => {
            format!("(SELECT b.charge_id FROM {} b LIMIT 1)", subquery(&allocation.charges.value))
        }
    };
    format!("SELECT 1 FROM {} a WHERE a.{column} = {value}", subquery(&query.value))
}

fn read_whole(dialect: Dialect, (key, query, column): Step<'_>, scan: &Scan) -> Mistake {
    let reads = if column == "period" { "one period" } else { "each charge" };
    let what =
        format!("`{key}` reads the whole of `{}` for {reads} of a bill run, because no index leads there", scan.name);
    let remedy = match scan.create_index(dialect) {
        Some(create) => format!("{create}, or rewrite it so that an index can be used"),
        None => format!("make an index on what is returned AS {column}, or return a column that has one"),
    };
    Mistake::new(Some(LABEL), query.line, &what, &remedy)
}

fn computed_whole(key: &str, query: &Located<String>) -> Mistake {
    let what = format!(
        "`{key}` is computed for all charges in a bill run of one period, because SQLite looks up by charge only in a plain SELECT"
    );
    let remedy = "write it without DISTINCT, GROUP BY, UNION, WITH and sub-selects if many periods are kept";
    Mistake::new(Some(LABEL), query.line, &what, remedy)
}
