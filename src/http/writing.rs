//! What a server keeps between writes over HTTP: what it has read of the changes' tables, and which keys are being written with.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use super::problem::Problem;
use crate::database::DatabaseConnection;
use crate::primitives::{ChangeName, Instant};
use crate::translation::own::get_change;
use crate::translation::writes::{WriteModel, installed_at};

/// How long what was read of the catalogue is used: a column that is added meanwhile is known a moment later.
const MODEL_AGE_MAX: Duration = Duration::from_secs(10);
/// How long the answer to a write with an Idempotency-Key is kept, if the settings say nothing.
pub const KEEP_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

/// Shared by all requests of a server.
#[derive(Debug)]
pub struct Writing {
    models: Cache<(ChangeName, Instant), Arc<WriteModel>>,
    in_flight: Mutex<HashSet<String>>,
    pub keep: Duration,
}

impl Writing {
    #[must_use]
    pub fn new(keep: Duration) -> Self {
        let models = Cache::builder().max_capacity(64).time_to_live(MODEL_AGE_MAX).build();
        Self { models, in_flight: Mutex::default(), keep }
    }

    /// What is known of a change's tables, read anew every few seconds and after an install.
    pub fn model(&self, connection: &mut DatabaseConnection, name: &ChangeName) -> Result<Arc<WriteModel>, Problem> {
        let installed = installed_at(connection, name)?;
        let known = installed.and_then(|at| self.models.get(&(name.clone(), at)));
        if let Some(known) = known {
            return Ok(known);
        }
        let change = get_change(connection, name)?;
        let model = Arc::new(WriteModel::read(connection, &change)?);
        self.models.insert((name.clone(), change.installed_at), Arc::clone(&model));
        Ok(model)
    }

    /// Marks a key as being written with until the mark is dropped; `None` if it is marked already. The database holds it as well, for
    /// other servers; this answers before a connection is taken.
    #[must_use]
    pub fn start(self: &Arc<Self>, key: String) -> Option<InFlight> {
        let mut all = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.clone()).then(|| InFlight { writing: Arc::clone(self), key })
    }
}

/// The mark of a key.
#[derive(Debug)]
pub struct InFlight {
    writing: Arc<Writing>,
    key: String,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.writing.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
