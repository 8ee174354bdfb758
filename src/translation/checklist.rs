//! What is left to be removed once a change is complete: by the application's people, in this order.

use serde::Serialize;

use super::own::InstalledChange;
use crate::change::Direction;
use crate::sql::model::{ChangeModel, TableModel};

/// One thing to do, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    pub what: String,
    /// Tables, columns, flags, commands.
    pub names: Vec<String>,
}

/// The removal checklist of a change. Columns of the old model are those that its blocks read or fill; whether something else needs them
/// is for the application's people to know.
#[must_use]
pub fn checklist(model: &ChangeModel, change: &InstalledChange) -> Vec<Removal> {
    let mut list = Vec::new();
    let mut add = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            list.push(Removal { what: what.to_owned(), names });
        }
    };
    let old: Vec<TableModel> =
        model.sources_of(Direction::Forward).into_iter().filter(|table| !model.is_new(table)).collect();
    add("code that writes or reads the old model", old.iter().map(|table| table.name.clone()).collect());
    add(
        "code that asks which side a user is on, then the flag",
        if change.file.is_routed() { vec![change.file.routing.flag.to_string()] } else { Vec::new() },
    );
    if change.file.allocation.is_some() {
        add(
            "readers of the view of the effective allocation: let them read the new model",
            vec![String::from("effective_allocation")],
        );
    }
    add(
        "what is left of Changeover: the change's rows and the view",
        vec![format!("changeover change uninstall {}", change.name)],
    );
    add("columns of the old model that the new one holds now", columns(model, &old));
    add("tables of the old model, if nothing else needs them", tables(model, &old));
    list
}

/// Old columns that backward blocks kept filled: what new code supplies.
fn columns(model: &ChangeModel, old: &[TableModel]) -> Vec<String> {
    let mut columns: Vec<String> = model
        .blocks_of(Direction::Backward)
        .filter(|block| old.contains(&block.target) && !block.insert)
        .flat_map(|block| {
            let table = &block.target.name;
            block.payload().into_iter().map(move |column| format!("{table}.{column}")).collect::<Vec<_>>()
        })
        .collect();
    columns.sort();
    columns.dedup();
    columns
}

/// Old tables that drive a block: whole rows that backward blocks filled, and those from which nothing came back.
fn tables(model: &ChangeModel, old: &[TableModel]) -> Vec<String> {
    let is_updated = |table: &&TableModel| {
        model.blocks_of(Direction::Backward).any(|block| block.target == **table && !block.insert)
    };
    let drives = |table: &&TableModel| model.blocks_of(Direction::Forward).any(|block| block.driving.table == **table);
    old.iter().filter(drives).filter(|table| !is_updated(table)).map(|table| table.name.clone()).collect()
}
