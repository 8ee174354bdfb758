//! Blocks against one another: their order, cycles among them, and columns that both directions write.
//!
//! **Order.** A block that is driven by, or reads, a table that another block of its direction fills comes after that block.
//! Blocks that fill the same table do not depend on one another, and constant tables create no dependency.
//!
//! **Unmapped columns.** Take a table that blocks of one direction fill and that drives a block of the other direction. A
//! column that is filled there but that no block of the other direction reads is a trap: what its own side writes into it is
//! carried nowhere, and the next refresh overwrites it. Such a column is a mistake. Keys and identities never change in a
//! refresh and are left out.

use std::collections::BTreeSet;

use super::{CheckedBlock, Checker};
use crate::change::{Block, ChangeFile, Direction, Query, shown};
use crate::sql::catalogue::Table;

pub(super) fn check(checker: &mut Checker<'_>, file: &ChangeFile, checked: &[CheckedBlock]) {
    for direction in [Direction::Forward, Direction::Backward] {
        let nodes: Vec<Node<'_>> = file
            .blocks
            .iter()
            .filter(|block| block.id.direction == direction)
            .filter_map(|block| Node::new(checker, block, checked))
            .collect();
        check_order(checker, &nodes);
    }
    for block in &file.blocks {
        check_columns(checker, file, block, checked);
    }
}

/// A block with the names of the tables that it writes and depends on.
struct Node<'b> {
    block: &'b Block,
    writes: String,
    reads: BTreeSet<String>,
}

impl<'b> Node<'b> {
    fn new(checker: &Checker<'_>, block: &'b Block, checked: &[CheckedBlock]) -> Option<Self> {
        let name = |written: &str| checker.catalogue.find(written).map(Table::sql_name);
        let found = checked.iter().find(|checked| checked.id == block.id)?;
        let constant: Vec<String> = block.constant.iter().filter_map(|table| name(&table.value)).collect();
        let reads = found.reads.keys().filter(|table| !constant.contains(table)).cloned();
        Some(Self { block, writes: name(&block.into.value)?, reads: reads.chain(name(&block.from.value)).collect() })
    }

    fn depends_on(&self, other: &Node<'_>) -> bool {
        self.writes != other.writes && self.reads.contains(&other.writes)
    }
}

fn check_order(checker: &mut Checker<'_>, nodes: &[Node<'_>]) {
    let reachable: Vec<BTreeSet<usize>> = (0..nodes.len()).map(|index| reachable_from(nodes, index)).collect();
    let is_reached = |from: usize, to: usize| reachable.get(from).is_some_and(|set| set.contains(&to));
    let mut told: BTreeSet<usize> = BTreeSet::new();
    for (index, node) in nodes.iter().enumerate() {
        if is_reached(index, index) && !told.contains(&index) {
            let cycle: Vec<usize> =
                (0..nodes.len()).filter(|other| is_reached(index, *other) && is_reached(*other, index)).collect();
            let labels = cycle.iter().filter_map(|member| nodes.get(*member)).map(|node| shown(&node.block.label()));
            let labels = labels.collect::<Vec<_>>().join(", ");
            told.extend(cycle);
            let what = format!("{labels} depend on one another in a cycle: each reads what another one fills");
            checker.mistake(
                &node.block.label(),
                node.block.line,
                &what,
                "let one of them read the source tables instead",
            );
        }
    }
    for (index, node) in nodes.iter().enumerate() {
        for (later, other) in nodes.iter().enumerate().skip(index + 1) {
            if node.depends_on(other) && !is_reached(later, index) {
                let what = format!(
                    "the block reads {}, which the later block {} fills",
                    shown(&other.block.into.value),
                    shown(&other.block.label())
                );
                let remedy = format!("move it below the block at line {}", other.block.line);
                checker.mistake(&node.block.label(), node.block.line, &what, &remedy);
            }
        }
    }
}

/// The nodes that can be reached from one by one step or more.
fn reachable_from(nodes: &[Node<'_>], start: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(node) = open.pop().and_then(|index| nodes.get(index)) {
        for (index, other) in nodes.iter().enumerate() {
            if node.depends_on(other) && reached.insert(index) {
                open.push(index);
            }
        }
    }
    reached
}

/// True if `written` means the column `name`.
fn names(table: &Table, written: &str, name: &str) -> bool {
    table.find_column(written).is_some_and(|column| column.name == name)
}

/// See "Unmapped columns" above.
fn check_columns(checker: &mut Checker<'_>, file: &ChangeFile, block: &Block, checked: &[CheckedBlock]) {
    let Some(target) = checker.catalogue.find(&block.into.value) else { return };
    let Some(found) = checked.iter().find(|checked| checked.id == block.id) else { return };
    let is_opposite = |other: &&Block| other.id.direction != block.id.direction;
    let opposite: Vec<&Block> = file.blocks.iter().filter(is_opposite).collect();
    let drives = |other: &&&Block| {
        checker.catalogue.find(&other.from.value).is_some_and(|from| from.sql_name() == target.sql_name())
    };
    let Some(driven) = opposite.iter().find(drives) else { return };
    let ids: Vec<_> = opposite.iter().map(|other| other.id).collect();
    // A block whose query could not be read says nothing about what is carried back.
    if ids.iter().any(|id| !checked.iter().any(|checked| checked.id == *id)) {
        return;
    }
    let carried: BTreeSet<&String> = checked
        .iter()
        .filter(|checked| ids.contains(&checked.id))
        .filter_map(|checked| checked.reads.get(&target.sql_name()))
        .flatten()
        .collect();
    let mut mistakes = Vec::new();
    for column in found.columns.iter().filter_map(|column| target.find_column(&column.name)) {
        let is_key = || block.key.value.target_columns().iter().any(|key| names(target, key, &column.name));
        let is_identity = match block.identity.value.as_slice() {
            [] => target.primary_key.contains(&column.name),
            written => written.iter().any(|written| names(target, written, &column.name)),
        };
        let is_fixed = is_identity || is_key();
        if is_fixed || carried.contains(&column.name) {
            continue;
        }
        let (here, there) = match block.id.direction {
            Direction::Forward => ("new", "backward"),
            Direction::Backward => ("old", "forward"),
        };
        let what = format!(
            "{} of {} is written here, but no {there} block carries it: what {here} code writes there is overwritten by the next refresh",
            shown(&column.name),
            shown(&target.shown())
        );
        let remedy = format!("read it in {}, or leave it out here", shown(&driven.label()));
        mistakes.push((what, remedy));
    }
    let line = match &block.source {
        Query::Select(query) => query.line,
        Query::Columns(columns) => columns.line,
    };
    for (what, remedy) in mistakes {
        checker.mistake(&block.label(), line, &what, &remedy);
    }
}
