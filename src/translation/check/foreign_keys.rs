//! Foreign keys by which the new model would hold the old one's rows fast: PostgreSQL checks them before translation has had its turn.

use crate::change::{Block, ChangeFile, Mistake};
use crate::database::{DatabaseConnection, DatabaseError, Dialect, Value};
use crate::sql::catalogue::{Catalogue, Table};

/// `SELECT` of the constraint's name and of what happens on delete and on update, of keys that are checked at once.
const STRICT: &str = "
SELECT conname::text AS name, confdeltype::text AS on_delete, confupdtype::text AS on_update
FROM pg_constraint
WHERE contype = 'f' AND conrelid = $1::text::regclass AND confrelid = $2::text::regclass AND NOT condeferred
  AND (confdeltype NOT IN ('c', 'n', 'd') OR confupdtype NOT IN ('c', 'n', 'd'))
ORDER BY conname";

/// Warns of each foreign key from a block's target to its driving table that does not cascade.
pub fn check(
    connection: &mut DatabaseConnection,
    catalogue: &Catalogue,
    file: &ChangeFile,
) -> Result<Vec<Mistake>, DatabaseError> {
    let mut warnings = Vec::new();
    if connection.dialect() != Dialect::Postgres {
        // SQLite checks at the end of the statement, when its triggers are done.
        return Ok(warnings);
    }
    for block in file.blocks.iter().filter(|block| block.backward.insert) {
        let (Some(target), Some(driving)) = (catalogue.find(&block.into.value), catalogue.find(&block.from.value))
        else {
            continue;
        };
        let tables = [Value::from(target.sql_name()), Value::from(driving.sql_name())];
        for row in connection.query(STRICT, &tables)? {
            let strict = |letter: &str| !matches!(letter, "c" | "n" | "d");
            let deeds = match (strict(&row.text("on_delete")?), strict(&row.text("on_update")?)) {
                (true, true) => "deletes and key changes",
                (true, false) => "deletes",
                (false, _) => "key changes",
            };
            warnings.push(warning(block, (target, driving), (&row.text("name")?, deeds)));
        }
    }
    Ok(warnings)
}

fn warning(block: &Block, (target, driving): (&Table, &Table), (name, deeds): (&str, &str)) -> Mistake {
    let what = format!(
        "the foreign key `{name}` from `{}` to `{}` does not cascade, so that PostgreSQL refuses old code's {deeds} before they are translated",
        target.shown(),
        driving.shown()
    );
    let remedy = format!(
        "let it cascade (ON DELETE CASCADE ON UPDATE CASCADE), or defer it: ALTER TABLE {} ALTER CONSTRAINT \"{}\" DEFERRABLE INITIALLY DEFERRED",
        target.sql_name(),
        name.replace('"', "\"\""),
    );
    Mistake::new(Some(&block.label()), block.into.line, &what, &remedy)
}
