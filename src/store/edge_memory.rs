//! What a server keeps in memory of the edges: what is set for each change, so that a proxy is answered without asking a database.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::StoreError;
use super::edges::{self, StoredEdge};
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant};

/// The edges by change.
#[derive(Debug, Clone, Default)]
pub struct Edges(HashMap<String, Arc<StoredEdge>>);

/// An edge in a snapshot file.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedEdge {
    change: String,
    version: i64,
    settings: Box<RawValue>,
    maintenance: Option<Box<RawValue>>,
    updated_at: i64,
    updated_by: String,
}

impl Edges {
    /// All edges. One that cannot be read stays what it was in `previous`.
    pub(super) fn read(connection: &mut DatabaseConnection, previous: &Self) -> Result<Self, StoreError> {
        let mut found = HashMap::new();
        for (name, edge) in edges::each(connection)? {
            let edge = match edge {
                Ok(edge) => Some(Arc::new(edge)),
                Err(error) => {
                    tracing::error!(%error, "what is set for an edge cannot be read: it stays as it was");
                    previous.0.get(&name).cloned()
                }
            };
            found.extend(edge.map(|edge| (name, edge)));
        }
        Ok(Self(found))
    }

    /// What is set for a change.
    #[must_use]
    pub fn find(&self, change: &str) -> Option<Arc<StoredEdge>> {
        self.0.get(change).cloned()
    }

    pub(super) fn to_saved(&self) -> Vec<SavedEdge> {
        let mut saved: Vec<SavedEdge> = self.0.values().filter_map(|edge| to_saved(edge)).collect();
        saved.sort_by(|a, b| a.change.cmp(&b.change));
        saved
    }

    /// Leaves out what this program cannot read.
    pub(super) fn from_saved(saved: Vec<SavedEdge>) -> Self {
        let edges = saved.into_iter().filter_map(|saved| from_saved(&saved));
        Self(edges.map(|edge| (edge.change.to_string(), Arc::new(edge))).collect())
    }
}

fn to_saved(edge: &StoredEdge) -> Option<SavedEdge> {
    Some(SavedEdge {
        change: edge.change.to_string(),
        version: edge.version,
        settings: serde_json::value::to_raw_value(&edge.settings).ok()?,
        maintenance: edge.maintenance.as_ref().map(serde_json::value::to_raw_value).transpose().ok()?,
        updated_at: edge.updated_at.as_micros(),
        updated_by: edge.updated_by.clone(),
    })
}

fn from_saved(saved: &SavedEdge) -> Option<StoredEdge> {
    let maintenance = saved.maintenance.as_ref().map(|text| serde_json::from_str(text.get()));
    Some(StoredEdge {
        change: ChangeName::new(&saved.change).ok()?,
        version: saved.version,
        settings: serde_json::from_str(saved.settings.get()).ok()?,
        maintenance: maintenance.transpose().ok()?,
        updated_at: Instant::from_micros(saved.updated_at),
        updated_by: saved.updated_by.clone(),
    })
}
