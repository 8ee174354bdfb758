//! A named set of subjects. What it holds of their ids is in `cohort_ids`.

use super::cohort_ids::CohortIds;
use super::conditions::CohortConditions;
use crate::primitives::CohortName;

/// A named set of subjects.
#[derive(Debug, Clone, PartialEq)]
pub struct Cohort {
    name: CohortName,
    generation: i64,
    ids: CohortIds,
    conditions: CohortConditions,
}

impl Cohort {
    /// `generation` counts how often the cohort has been replaced.
    #[must_use]
    pub fn new(name: CohortName, generation: i64, ids: CohortIds) -> Self {
        Self { name, generation, ids, conditions: CohortConditions::default() }
    }

    /// The same cohort, to which belong as well those whose context meets the conditions.
    #[must_use]
    pub fn with_conditions(self, conditions: CohortConditions) -> Self {
        Self { conditions, ..self }
    }

    #[must_use]
    pub fn name(&self) -> &CohortName {
        &self.name
    }

    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    #[must_use]
    pub fn ids(&self) -> &CohortIds {
        &self.ids
    }

    #[must_use]
    pub fn conditions(&self) -> &CohortConditions {
        &self.conditions
    }

    /// Whether `id` is one of the explicit ids.
    #[must_use]
    pub fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}
