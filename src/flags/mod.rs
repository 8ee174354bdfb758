//! Flags, cohorts, buckets and their evaluation. Pure: no I/O, no clock; an evaluation reads an immutable [`Snapshot`].
//!
//! | file | owns |
//! |---|---|
//! | `draft` | the JSON shape of a flag, before anything is checked |
//! | `flag`, `validate`, `written` | a flag whose every reference is good, how a draft becomes one, and one a draft |
//! | `check` | what is refused when a flag is written, though a stored one may have it |
//! | `value` | the types of variants and their values |
//! | `clause` | one condition on one attribute, with three outcomes |
//! | `bucket`, `rollout` | which bucket a value falls into, and which variant owns the bucket |
//! | `percent`, `step` | shares as people write them; one step of a rollout |
//! | `context` | what a caller tells about the subject of an evaluation |
//! | `cohort`, `conditions` | a set of subjects: ids, and who belongs to it without being listed |
//! | `prerequisites` | how flags depend on one another |
//! | `cohort_ids` | the ids of a cohort, exact and small |
//! | `snapshot` | one version of everything, indexed |
//! | `diff` | what differs between two versions of a flag |
//! | `words` | rules, shares and differences as a person reads them |
//! | `moves`, `subject` | who gets another variant than before; known subjects, a line each |
//! | `stale` | which flags could go |
//! | `constant` | whether everybody gets the same |
//! | `evaluate`, `explain` | a flag's answer to a context; why it was that |

mod bucket;
mod check;
mod clause;
mod cohort;
mod cohort_ids;
mod conditions;
mod constant;
mod context;
mod diff;
mod draft;
mod evaluate;
mod explain;
mod exposure;
mod flag;
pub mod import;
mod mistake;
mod moves;
mod percent;
mod prerequisites;
mod rollout;
mod snapshot;
mod stale;
mod step;
mod subject;
mod validate;
mod value;
pub mod words;
mod written;

pub use bucket::{Algorithm, BUCKETS, UnknownAlgorithm};
pub use check::{check_write, flag_that_needs};
pub use clause::{AttributePath, Clause, Indeterminate, InvalidPath, Match, Operator};
pub use cohort::Cohort;
pub use cohort_ids::{CohortIds, CohortIdsBuilder, UnreadableIds};
pub use conditions::CohortConditions;
pub use context::{Context, InvalidContext, TARGETING_KEY, canonical_id};
pub use diff::{Difference, differences};
pub use draft::{
    ClauseDraft, FlagDraft, PrerequisiteDraft, ProtectionDraft, RangeDraft, RolloutDraft, RuleDraft, ScheduleStepDraft,
    ServeDraft, VariantDrafts,
};
pub use evaluate::{Asked, Evaluation, Failure, Reason, RuleOutcome, Served, Why, WhyNot, World};
pub use explain::{ClauseTrace, CohortTrace, Explanation, FlagTrace, PrerequisiteTrace, RolloutTrace, RuleTrace};
pub use exposure::{CohortShare, WHOLE, answers_alike, exposure};
pub use flag::{Flag, Prerequisite, Protection, Rule, ScheduleStep, Serve, ShareError, Variant};
pub use mistake::{FlagMistake, InvalidFlag};
pub use moves::{Moves, SAMPLES_MAX, Staying, VariantMove, outcome};
pub use percent::{InvalidPercent, Percent, ShareStep};
pub use prerequisites::Broken;
pub use rollout::{Rollout, RolloutError, VariantRange};
pub use snapshot::{CohortIndex, Snapshot, SnapshotFlag, VersionedFlag};
pub use stale::{Facts, Stale};
pub use step::{RolloutStep, Stepped};
pub use subject::{Rejected, context_of_line};
pub use value::{FlagType, VariantValue, WrongType};
