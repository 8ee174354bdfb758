//! Flags, cohorts, buckets and their evaluation. Pure: no I/O, no clock; an evaluation reads an immutable [`Snapshot`].
//!
//! | file | owns |
//! |---|---|
//! | `draft` | the JSON shape of a flag, before anything is checked |
//! | `flag`, `validate` | a flag whose every reference is good, and how a draft becomes one |
//! | `value` | the types of variants and their values |
//! | `clause` | one condition on one attribute, with three outcomes |
//! | `bucket`, `rollout` | which bucket a value falls into, and which variant owns the bucket |
//! | `percent`, `step` | shares as people write them; one step of a rollout |
//! | `context` | what a caller tells about the subject of an evaluation |
//! | `cohort` | a set of subjects, kept small |
//! | `snapshot` | one version of everything, indexed |
//! | `diff` | what differs between two versions of a flag |
//! | `moves`, `subject` | who gets another variant than before; known subjects, a line each |
//! | `constant` | whether everybody gets the same |
//! | `evaluate`, `explain` | a flag's answer to a context; why it was that |

mod bucket;
mod clause;
mod cohort;
mod constant;
mod context;
mod diff;
mod draft;
mod evaluate;
mod explain;
mod flag;
mod mistake;
mod moves;
mod percent;
mod rollout;
mod snapshot;
mod step;
mod subject;
mod validate;
mod value;

pub use bucket::{Algorithm, BUCKETS, UnknownAlgorithm};
pub use clause::{AttributePath, Clause, Comparand, Indeterminate, InvalidPath, Match, Numeric, Test};
pub use cohort::{Cohort, CohortIds};
pub use context::{Context, InvalidContext, TARGETING_KEY, canonical_id};
pub use diff::{Difference, differences};
pub use draft::{ClauseDraft, FlagDraft, RangeDraft, RolloutDraft, RuleDraft, ServeDraft, VariantDrafts};
pub use evaluate::{Evaluation, Failure, Reason, RuleOutcome, Served, Why, WhyNot};
pub use explain::{Explanation, RuleTrace};
pub use flag::{Flag, Rule, Serve, ShareError, Variant};
pub use mistake::{FlagMistake, InvalidFlag};
pub use moves::{Moves, SAMPLES_MAX, Staying, VariantMove, outcome};
pub use percent::{InvalidPercent, Percent, ShareStep};
pub use rollout::{Rollout, RolloutError, VariantRange};
pub use snapshot::{CohortIndex, Snapshot, SnapshotFlag, VersionedFlag};
pub use step::{RolloutStep, Stepped};
pub use subject::{Rejected, context_of_line};
pub use value::{FlagType, VariantValue, WrongType};
