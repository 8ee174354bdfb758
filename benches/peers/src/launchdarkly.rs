//! LaunchDarkly's engine: `evaluate` of a flag that is at hand already, so without a look-up by key. Its store answers owned
//! values, which its own SDK makes by cloning; here too, where a segment is asked for.

use launchdarkly_server_sdk_evaluation::{Context, ContextBuilder, Flag, FlagValue, Segment, Store, evaluate};
use serde_json::{Value, json};

use crate::{Engine, Question, SUBJECTS, id, subject};

pub struct LaunchDarkly {
    segments: Segments,
    boolean: Flag,
    rollout: Flag,
    ten_clauses: Flag,
    cohort: Flag,
    members: Vec<Context>,
    ten: Context,
}

pub struct Segments(Segment);

impl Store for Segments {
    fn flag(&self, _key: &str) -> Option<Flag> {
        None
    }

    fn segment(&self, _key: &str) -> Option<Segment> {
        Some(self.0.clone())
    }
}

fn flag(key: &str, rules: Value, fallthrough: Value) -> Flag {
    let json = json!({"key": key, "version": 1, "on": true, "targets": [], "rules": rules, "prerequisites": [],
                      "fallthrough": fallthrough, "offVariation": 1, "variations": [true, false], "salt": key, "trackEvents": false,
                      "trackEventsFallthrough": false,
                      "clientSideAvailability": {"usingMobileKey": false, "usingEnvironmentId": false}});
    serde_json::from_value(json).expect("a valid flag")
}

/// The segment as its service sends it.
pub fn segment(members: usize) -> String {
    let ids: Vec<String> = (0..members).map(id).collect();
    json!({"key": "cohort", "version": 1, "included": ids, "excluded": [], "rules": [], "salt": "s"}).to_string()
}

pub fn load(segment: &str) -> Segments {
    Segments(serde_json::from_str(segment).expect("a valid segment"))
}

impl LaunchDarkly {
    pub fn new(members: usize) -> Self {
        let clause = |at: usize| {
            json!({"attribute": format!("attribute-{at}"), "op": "in", "values": [format!("value-{at}")], "negate": false,
                   "contextKind": "user"})
        };
        let clauses: Vec<Value> = (0..10).map(clause).collect();
        let of_segment = json!([{"attribute": "", "op": "segmentMatch", "values": ["cohort"], "negate": false}]);
        let halves = json!({"rollout": {"variations": [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]}});
        let mut ten = ContextBuilder::new("user");
        for at in 0..10 {
            ten.set_string(&format!("attribute-{at}"), format!("value-{at}"));
        }
        let member = |number: usize| ContextBuilder::new(subject(number, members)).build().expect("a valid context");
        Self {
            segments: load(&segment(members)),
            boolean: flag("flag", json!([]), json!({"variation": 0})),
            rollout: flag("rollout", json!([]), halves),
            ten_clauses: flag(
                "ten",
                json!([{"id": "r", "clauses": clauses, "variation": 0, "trackEvents": false}]),
                json!({"variation": 1}),
            ),
            cohort: flag(
                "cohort",
                json!([{"id": "r", "clauses": of_segment, "variation": 0, "trackEvents": false}]),
                json!({"variation": 1}),
            ),
            members: (0..SUBJECTS).map(member).collect(),
            ten: ten.build().expect("a valid context"),
        }
    }
}

impl Engine for LaunchDarkly {
    fn name(&self) -> &'static str {
        "launchdarkly-server-sdk-evaluation"
    }

    fn ask(&self, question: Question, subject: usize) -> bool {
        let (flag, context) = match question {
            Question::Boolean => (&self.boolean, &self.ten),
            Question::Rollout => (&self.rollout, &self.members[subject]),
            Question::TenClauses => (&self.ten_clauses, &self.ten),
            Question::Cohort => (&self.cohort, &self.members[subject]),
        };
        evaluate(&self.segments, flag, context, None).value == Some(&FlagValue::Bool(true))
    }
}
