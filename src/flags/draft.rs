//! The JSON shape of a flag, as the API takes it and the store keeps it, before anything but the shape is checked.
//! Unknown fields are refused everywhere: a misspelt `cohrot` must not turn a rule into one for everybody.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::value::FlagType;

/// A flag as it is written: `Flag::try_from(draft)` validates it, `flag.to_draft()` gives it back for editing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlagDraft {
    /// `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`
    pub key: String,
    #[serde(rename = "type")]
    pub kind: FlagType,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The kill switch: false serves `off_variant` to everybody.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Variant name → value of the flag's type.
    #[schema(value_type = Object)]
    pub variants: VariantDrafts,
    /// Served when no rule matches.
    pub default_variant: String,
    /// Served while the flag is not enabled.
    pub off_variant: String,
    /// All of them must hold, else the off variant is served. A flag that routes a change takes none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<PrerequisiteDraft>,
    /// Asked from top to bottom; the first one that matches serves.
    #[serde(default)]
    pub rules: Vec<RuleDraft>,
    /// The change that this flag routes; its variants are then `old` and `new`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub change: Option<String>,
    /// The day after which the flag is listed as stale: `2027-01-31`. Evaluation does not change.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = Date)]
    pub expires: Option<String>,
    /// What a write of this flag must satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub protection: Option<ProtectionDraft>,
}

/// Another flag that must serve one of these variants to the same context: `{"flag": "payments", "variants": ["on"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrerequisiteDraft {
    /// The other flag's key.
    pub flag: String,
    /// At least one of its variants.
    pub variants: Vec<String>,
}

/// What a write of a flag must satisfy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtectionDraft {
    /// Every write says why.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reason_required: bool,
    /// Every write is proposed by one person and applied by another.
    #[serde(default, skip_serializing_if = "is_false")]
    pub two_person: bool,
    /// At most so many per cent of the population may move in an hour: more than 0, at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub percent_per_hour: Option<f64>,
    /// How many subjects there are, where no cohort tells.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub population: Option<u64>,
}

/// One rule: it matches if its cohort and all its clauses do. One with neither is for everybody.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleDraft {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub cohort: Option<String>,
    /// The subject is not in this cohort. If that can't be told, the rule does not match.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub except_cohort: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<ClauseDraft>,
    pub serve: ServeDraft,
}

/// What a rule serves: `{"variant": "on"}`, `{"rollout": {…}}` or `{"schedule": [{"from": "2026-12-01T00:00:00Z", "variant":
/// "on"}]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServeDraft {
    Variant(String),
    Rollout(RolloutDraft),
    /// In the order of time. Before the first instant the rule does not match.
    Schedule(Vec<ScheduleStepDraft>),
}

/// From this instant on the rule serves this variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleStepDraft {
    /// RFC 3339: `2026-12-01T00:00:00Z`.
    #[schema(format = DateTime)]
    pub from: String,
    pub variant: String,
}

/// One condition: `{"attribute": "account.plan", "operator": "in", "values": ["pro", "team"]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClauseDraft {
    /// `targetingKey`, or the path of an attribute: `account.plan`.
    pub attribute: String,
    /// `equals`, `in`, `contains`, `starts_with`, `ends_with`, `matches`, `less_than`, `at_most`, `more_than`, `at_least`,
    /// `before`, `after`, `semver_equals`, `semver_less_than`, `semver_at_most`, `semver_more_than`, `semver_at_least`,
    /// `in_cidr` or `exists`.
    pub operator: String,
    /// What to compare with. `in` takes `values` instead, `exists` neither.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Object>)]
    pub value: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    /// Any of these: for `in`, `contains`, `starts_with`, `ends_with`, `matches` and `in_cidr`.
    #[schema(value_type = Option<Vec<Object>>)]
    pub values: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub negate: bool,
    /// Texts only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ignore_case: bool,
}

/// A division of 100,000 buckets (0.001 % each) over variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutDraft {
    /// How a value becomes a bucket. Default: the newest algorithm; then it is stored and stays.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub algorithm: Option<String>,
    /// Default: the flag's key; then it is stored and stays.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub seed: Option<String>,
    /// The attribute whose value is bucketed. Default: `targetingKey`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub attribute: Option<String>,
    /// Together they cover every bucket once. A variant's ranges stand in the order in which it got them.
    pub ranges: Vec<RangeDraft>,
}

/// Buckets `from` (included) to `to` (excluded) belong to `variant`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeDraft {
    pub variant: String,
    pub from: u32,
    pub to: u32,
}

/// Variants in the order written. A name that stands twice is refused, where a map would keep the last value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VariantDrafts(pub Vec<(String, Value)>);

/// A variant without a name, which no flag takes.
impl Default for ServeDraft {
    fn default() -> Self {
        Self::Variant(String::new())
    }
}

impl Serialize for VariantDrafts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for VariantDrafts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = VariantDrafts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of variant names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VariantDrafts, A::Error> {
                let mut variants: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if variants.iter().any(|(other, _)| *other == name) {
                        return Err(serde::de::Error::custom(format!("the variant `{name}` stands twice")));
                    }
                    variants.push((name, value));
                }
                Ok(VariantDrafts(variants))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// A field that may be absent but not `null`: a `"cohort": null` sent by mistake must not match everybody.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
