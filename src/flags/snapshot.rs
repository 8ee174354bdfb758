//! One version of all flags and cohorts, indexed for evaluation and never changed again: the server swaps whole snapshots.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::cohort::Cohort;
use super::flag::{Flag, Rule, Serve};
use super::prerequisites::{Broken, resolve};
use crate::primitives::{CohortName, FlagKey, Instant};

/// Keys are an admin's own, so nothing has to guard against ones made to collide.
type KeyMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A flag and the number of its version, as the store keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionedFlag {
    pub flag: Flag,
    pub version: i64,
}

/// Everything that an evaluation reads.
#[derive(Debug)]
pub struct Snapshot {
    version: i64,
    changed_at: Instant,
    digest: [u8; 32],
    flags: Vec<SnapshotFlag>,
    by_key: KeyMap<FlagKey, usize>,
    cohorts: Vec<Arc<Cohort>>,
    by_name: HashMap<CohortName, CohortIndex>,
    /// Every instant at which a rule begins to serve another variant, each once, in order.
    scheduled: Vec<Instant>,
}

/// Where a snapshot keeps a cohort. Valid for that snapshot only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CohortIndex(usize);

/// A flag with its names resolved.
#[derive(Debug)]
pub struct SnapshotFlag {
    flag: Flag,
    version: i64,
    pub(super) default_at: usize,
    pub(super) off_at: usize,
    /// Where the flags of its prerequisites are.
    pub(super) prerequisites: Vec<Result<usize, Broken>>,
    pub(super) rules: Vec<SnapshotRule>,
    needs_routing: bool,
}

/// A rule with its names resolved.
#[derive(Debug)]
pub(super) struct SnapshotRule {
    pub(super) cohort: CohortCondition,
    pub(super) except_cohort: CohortCondition,
    pub(super) serve: SnapshotServe,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum CohortCondition {
    None,
    In(CohortIndex),
    /// The rule names a cohort that is not there: it matches nobody.
    Unknown,
}

#[derive(Debug)]
pub(super) enum SnapshotServe {
    Variant(usize),
    /// The end of each range and its variant, by bucket.
    Ranges(Vec<(u32, usize)>),
    /// From when on which variant is served, in the order of time.
    Schedule(Vec<(Instant, usize)>),
}

impl Snapshot {
    /// Indexes one version of the configuration. `version` grows with every change of any flag or cohort, the last of which
    /// was at `changed_at`. Cohorts are shared, so that a new snapshot costs only what changed.
    #[must_use]
    pub fn build(
        version: i64,
        changed_at: Instant,
        mut flags: Vec<VersionedFlag>,
        mut cohorts: Vec<Arc<Cohort>>,
    ) -> Self {
        cohorts.sort_by(|one, other| one.name().cmp(other.name()));
        let by_name: HashMap<CohortName, CohortIndex> =
            cohorts.iter().enumerate().map(|(at, cohort)| (cohort.name().clone(), CohortIndex(at))).collect();
        flags.sort_by(|one, other| one.flag.key().cmp(other.flag.key()));
        let digest = digest(version, &flags, &cohorts);
        let by_key: KeyMap<FlagKey, usize> =
            flags.iter().enumerate().map(|(at, flag)| (flag.flag.key().clone(), at)).collect();
        let plain: Vec<&Flag> = flags.iter().map(|flag| &flag.flag).collect();
        let prerequisites = resolve(&plain, |key| by_key.get(key).copied());
        let scheduled = scheduled(&plain);
        let flags = flags.into_iter().zip(prerequisites);
        let mut flags: Vec<SnapshotFlag> =
            flags.map(|(flag, prerequisites)| SnapshotFlag::resolve(flag, prerequisites, &by_name)).collect();
        pass_on_routing(&mut flags);
        Self { version, changed_at, digest, flags, by_key, cohorts, by_name, scheduled }
    }

    /// A snapshot of nothing, older than any other.
    #[must_use]
    pub fn empty() -> Self {
        Self::build(0, Instant::from_micros(0), Vec::new(), Vec::new())
    }

    /// The configuration's version.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// When the configuration was last changed.
    #[must_use]
    pub fn changed_at(&self) -> Instant {
        self.changed_at
    }

    /// Sha-256 of the configuration and of the cohorts' generations: equal only if every answer is.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// All flags, by key.
    #[must_use]
    pub fn flags(&self) -> &[SnapshotFlag] {
        &self.flags
    }

    #[must_use]
    pub fn find_flag(&self, key: &str) -> Option<&SnapshotFlag> {
        self.position(key).and_then(|at| self.flags.get(at))
    }

    /// Where in [`Snapshot::flags`] a flag is.
    #[must_use]
    pub fn position(&self, key: &str) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    #[must_use]
    pub fn cohorts(&self) -> &[Arc<Cohort>] {
        &self.cohorts
    }

    #[must_use]
    pub fn cohort(&self, index: CohortIndex) -> Option<&Cohort> {
        self.cohorts.get(index.0).map(AsRef::as_ref)
    }

    #[must_use]
    pub fn find_cohort(&self, name: &str) -> Option<CohortIndex> {
        self.by_name.get(name).copied()
    }

    /// How many scheduled instants have passed: as long as it stays the same, so does every answer.
    #[must_use]
    pub fn schedule_step(&self, now: Instant) -> usize {
        self.scheduled.partition_point(|instant| *instant <= now)
    }

    /// The next instant at which a rule begins to serve another variant.
    #[must_use]
    pub fn next_scheduled(&self, now: Instant) -> Option<Instant> {
        self.scheduled.get(self.schedule_step(now)).copied()
    }
}

impl SnapshotFlag {
    fn resolve(
        VersionedFlag { flag, version }: VersionedFlag,
        prerequisites: Vec<Result<usize, Broken>>,
        cohorts: &HashMap<CohortName, CohortIndex>,
    ) -> Self {
        let at = |name| position(&flag, name);
        let rules = flag.rules().iter().map(|rule| SnapshotRule::resolve(rule, &flag, cohorts)).collect();
        let (default_at, off_at) = (at(flag.default_variant()), at(flag.off_variant()));
        let needs_routing = flag.change().is_some();
        Self { version, default_at, off_at, prerequisites, rules, needs_routing, flag }
    }

    #[must_use]
    pub fn flag(&self) -> &Flag {
        &self.flag
    }

    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Whether it, or a prerequisite of it, routes a change.
    #[must_use]
    pub fn needs_routing(&self) -> bool {
        self.needs_routing
    }
}

/// Who asks a flag that needs routing needs it too. Prerequisites that can be asked have no circles, so this ends.
fn pass_on_routing(flags: &mut [SnapshotFlag]) {
    loop {
        let needs: Vec<bool> = flags.iter().map(|flag| flag.needs_routing).collect();
        let mut is_done = true;
        for flag in flags.iter_mut().filter(|flag| !flag.needs_routing && !flag.prerequisites.is_empty()) {
            flag.needs_routing = flag.prerequisites.iter().flatten().any(|other| needs.get(*other) == Some(&true));
            is_done &= !flag.needs_routing;
        }
        if is_done {
            return;
        }
    }
}

fn scheduled(flags: &[&Flag]) -> Vec<Instant> {
    let rules = flags.iter().flat_map(|flag| flag.rules());
    let mut instants: Vec<Instant> = rules
        .filter_map(|rule| match &rule.serve {
            Serve::Schedule(steps) => Some(steps.iter().map(|step| step.from)),
            Serve::Variant(_) | Serve::Rollout(_) => None,
        })
        .flatten()
        .collect();
    instants.sort_unstable();
    instants.dedup();
    instants
}

impl SnapshotRule {
    fn resolve(rule: &Rule, flag: &Flag, cohorts: &HashMap<CohortName, CohortIndex>) -> Self {
        let condition = |name: &Option<CohortName>| match name {
            None => CohortCondition::None,
            Some(name) => cohorts.get(name).map_or(CohortCondition::Unknown, |index| CohortCondition::In(*index)),
        };
        let serve = match &rule.serve {
            Serve::Variant(name) => SnapshotServe::Variant(position(flag, name)),
            Serve::Rollout(rollout) => {
                let ranges = rollout.ranges().iter().map(|range| (range.to, position(flag, &range.variant)));
                let mut ranges: Vec<(u32, usize)> = ranges.collect();
                ranges.sort_unstable();
                SnapshotServe::Ranges(ranges)
            }
            Serve::Schedule(steps) => {
                SnapshotServe::Schedule(steps.iter().map(|step| (step.from, position(flag, &step.variant))).collect())
            }
        };
        Self { cohort: condition(&rule.cohort), except_cohort: condition(&rule.except_cohort), serve }
    }
}

impl SnapshotServe {
    /// The variant that owns a bucket.
    pub(super) fn owner(ranges: &[(u32, usize)], bucket: u32) -> Option<usize> {
        let at = ranges.partition_point(|(to, _)| *to <= bucket);
        ranges.get(at).map(|(_, variant)| *variant)
    }
}

/// Covers the flags themselves and not only the version's number, which repeats when a database is restored from a backup.
fn digest(version: i64, flags: &[VersionedFlag], cohorts: &[Arc<Cohort>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(version.to_be_bytes());
    for flag in flags {
        hash.update(flag.version.to_be_bytes());
        // A flag always serializes: its keys are texts.
        hash.update(serde_json::to_vec(&flag.flag).unwrap_or_default());
        hash.update([0]);
    }
    for cohort in cohorts {
        hash.update(format!("{} {} {}\n", cohort.name(), cohort.generation(), cohort.ids().len()));
        hash.update(serde_json::to_vec(cohort.conditions()).unwrap_or_default());
    }
    hash.finalize().into()
}

/// A validated flag has every variant that it names; were one missing, evaluation would answer GENERAL, not another variant.
fn position(flag: &Flag, name: &crate::primitives::VariantName) -> usize {
    flag.variants().iter().position(|variant| variant.name == *name).unwrap_or(usize::MAX)
}
