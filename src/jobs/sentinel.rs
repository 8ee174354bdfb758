//! The sentinel: a throttled verify without end, on one of all servers. Each turn looks at one range of one change, the oldest first,
//! and then pauses for as long as its budget says.

use std::collections::HashMap;
use std::time::{Duration, Instant as Clock};

use super::lease::{LeasedLoop, Leases, Turn};
use crate::database::{Database, DatabaseConnection};
use crate::primitives::{ChangeName, Instant};
use crate::sql::model::ChangeModel;
use crate::translation::own::list_changes;
use crate::translation::{
    Deed, InstalledChange, SentinelOptions, SentinelStep, TranslationError, resolve, sentinel_step,
};

/// How hard the sentinel works.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Driving keys a second, at most, over all changes.
    pub keys_per_second: u32,
    pub repair: bool,
}

/// Keys in a look: a statement of some ten milliseconds.
const RANGE_KEYS: usize = 2_000;

/// Looking takes at most this part of the time, however slow the database is.
const SHARE: u32 = 10;

/// Between two looks where there was nothing to look at.
const IDLE: Duration = Duration::from_secs(2);

/// Between two turns, beside what the budget asks for.
const PAUSE: Duration = Duration::from_millis(20);

/// A change's names are resolved anew after this: the application may have changed its tables.
const RESOLVE_EVERY: Duration = Duration::from_secs(60);

/// Who repairs, in a change's history.
const ACTOR: &str = "sentinel";

/// Starts the sentinel. It stops when the result is dropped.
pub fn start(leases: Leases, app: Database, budget: Budget) -> Result<LeasedLoop, std::io::Error> {
    let mut sentinel = Sentinel { app, budget, models: HashMap::new(), turn: 0 };
    LeasedLoop::start(leases, "sentinel", PAUSE, move |turn| sentinel.turn(turn))
}

struct Sentinel {
    app: Database,
    budget: Budget,
    models: HashMap<ChangeName, Known>,
    /// Which change's turn it is.
    turn: usize,
}

/// A change as it was when it was resolved.
struct Known {
    model: ChangeModel,
    installed_at: Instant,
    resolved: Clock,
}

impl Sentinel {
    fn turn(&mut self, turn: &Turn<'_>) -> Result<(), TranslationError> {
        let began = Clock::now();
        let step = self.step()?;
        let pause = match &step {
            Some(step) => self.pause_after(step, began.elapsed()),
            None => IDLE,
        };
        rest(turn, pause);
        Ok(())
    }

    fn step(&mut self) -> Result<Option<SentinelStep>, TranslationError> {
        let mut connection = self.app.connection()?;
        let changes = list_changes(&mut connection)?;
        self.models.retain(|name, _| changes.iter().any(|change| change.name == *name));
        for _ in 0..changes.len() {
            self.turn = self.turn.wrapping_add(1);
            let Some(change) = self.turn.checked_rem(changes.len()).and_then(|index| changes.get(index)) else { break };
            if !change.stage.translates_forward() {
                continue;
            }
            let options = SentinelOptions { range_keys: self.range_keys(), repair: self.budget.repair };
            let deed = Deed { actor: ACTOR, at: jiff::Timestamp::now().into(), reason: "" };
            let model = self.model(&mut connection, change)?;
            if let Some(step) = sentinel_step(&mut connection, model, change, options, deed)? {
                tell(change, &step);
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    fn model(
        &mut self,
        connection: &mut DatabaseConnection,
        change: &InstalledChange,
    ) -> Result<&ChangeModel, TranslationError> {
        let is_fresh =
            |known: &Known| known.installed_at == change.installed_at && known.resolved.elapsed() < RESOLVE_EVERY;
        if !self.models.get(&change.name).is_some_and(is_fresh) {
            let model = resolve(connection, &change.file)?;
            let known = Known { model, installed_at: change.installed_at, resolved: Clock::now() };
            self.models.insert(change.name.clone(), known);
        }
        match self.models.get(&change.name) {
            Some(known) => Ok(&known.model),
            None => Err(TranslationError::NotInstalled { name: change.name.clone(), installed: Vec::new() }),
        }
    }

    /// At a low rate a look is smaller, so that it does not take more than a second's budget at once.
    fn range_keys(&self) -> usize {
        usize::try_from(self.budget.keys_per_second).unwrap_or(RANGE_KEYS).clamp(1, RANGE_KEYS)
    }

    fn pause_after(&self, step: &SentinelStep, took: Duration) -> Duration {
        let due =
            Duration::from_millis(step.keys.saturating_mul(1_000) / u64::from(self.budget.keys_per_second.max(1)));
        due.saturating_sub(took).max(took * (SHARE - 1))
    }
}

fn tell(change: &InstalledChange, step: &SentinelStep) {
    if step.drift > 0 {
        tracing::warn!(
            change = %change.name, block = step.block, rows = step.drift, repaired = step.repaired,
            "the sentinel found target rows that are not what their block says"
        );
    }
}

/// Waits, but not beyond the server's end or the lease's.
fn rest(turn: &Turn<'_>, pause: Duration) {
    let until = Clock::now() + pause;
    while turn.goes_on() && Clock::now() < until {
        std::thread::sleep(Duration::from_millis(50).min(until.saturating_duration_since(Clock::now())));
    }
}
