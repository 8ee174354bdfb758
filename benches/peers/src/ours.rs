//! Our library.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::flags::{Cohort, CohortIds, Context, Evaluation, Flag, Snapshot, VersionedFlag};
use crate::primitives::{CohortName, Instant};
use crate::{Engine, FLAGS, Question, SUBJECTS, id, subject};

const NOW: Instant = Instant::from_micros(0);

pub struct Ours {
    snapshot: Snapshot,
    members: Vec<Context>,
    ten: Context,
}

fn flag(key: &str, rules: &Value) -> VersionedFlag {
    let json = json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}, "default_variant": "off",
                      "off_variant": "off", "rules": rules});
    VersionedFlag { flag: Flag::parse(&json.to_string()).expect("a valid flag"), version: 1 }
}

pub fn cohort(members: usize) -> CohortIds {
    (0..members).map(id).collect()
}

pub fn snapshot(ids: CohortIds) -> Snapshot {
    let ranges = json!([{"variant": "on", "from": 0, "to": 50_000}, {"variant": "off", "from": 50_000, "to": 100_000}]);
    let clause = |at: usize| json!({"attribute": format!("attribute-{at}"), "operator": "equals", "value": format!("value-{at}")});
    let clauses: Vec<Value> = (0..10).map(clause).collect();
    let mut flags: Vec<VersionedFlag> =
        (0..FLAGS).map(|at| flag(&format!("flag-{at}"), &json!([{"serve": {"variant": "on"}}]))).collect();
    flags.push(flag("rollout", &json!([{"serve": {"rollout": {"ranges": ranges}}}])));
    flags.push(flag("ten", &json!([{"clauses": clauses, "serve": {"variant": "on"}}])));
    flags.push(flag("cohort", &json!([{"cohort": "million", "serve": {"variant": "on"}}])));
    let cohort = Cohort::new(CohortName::new("million").expect("a valid name"), 1, ids);
    Snapshot::build(1, NOW, flags, vec![Arc::new(cohort)])
}

impl Ours {
    pub fn new(members: usize) -> Self {
        let ten = (0..10).map(|at| (format!("attribute-{at}"), json!(format!("value-{at}")))).collect();
        Self {
            snapshot: snapshot(cohort(members)),
            members: (0..SUBJECTS).map(|number| Context::of(&subject(number, members))).collect(),
            ten: Context::from_json(Value::Object(ten)).expect("a valid context"),
        }
    }
}

impl Engine for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn ask(&self, question: Question, subject: usize) -> bool {
        let (key, context) = match question {
            Question::Boolean => ("flag-4321", &self.ten),
            Question::Rollout => ("rollout", &self.members[subject]),
            Question::TenClauses => ("ten", &self.ten),
            Question::Cohort => ("cohort", &self.members[subject]),
        };
        match self.snapshot.evaluate(key, context, NOW) {
            Evaluation::Served(served) => served.variant.name.as_str() == "on",
            Evaluation::Failed(_) => false,
        }
    }
}
