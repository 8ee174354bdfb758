//! Unleash's engine: `is_enabled` by the toggle's name.

use serde_json::{Value, json};
use unleash_types::client_features::ClientFeatures;
use unleash_yggdrasil::{Context, EngineState};

use crate::{Engine, FLAGS, Question, SUBJECTS, id, subject};

pub struct Yggdrasil {
    engine: EngineState,
    members: Vec<Context>,
    ten: Context,
}

/// The state as its server sends it.
pub fn state(members: usize) -> String {
    let feature = |name: &str, strategies: Value| json!({"name": name, "enabled": true, "strategies": strategies});
    let constraint = |at: usize| json!({"contextName": format!("attribute-{at}"), "operator": "IN", "values": [format!("value-{at}")]});
    let constraints: Vec<Value> = (0..10).map(constraint).collect();
    let mut features: Vec<Value> = (0..FLAGS).map(|at| feature(&format!("flag-{at}"), json!([]))).collect();
    let rollout = json!({"rollout": "50", "stickiness": "userId", "groupId": "rollout"});
    features.push(feature("rollout", json!([{"name": "flexibleRollout", "parameters": rollout}])));
    features.push(feature("ten", json!([{"name": "default", "constraints": constraints}])));
    features.push(feature("cohort", json!([{"name": "default", "segments": [1]}])));
    let ids: Vec<String> = (0..members).map(id).collect();
    let segment = json!({"id": 1, "constraints": [{"contextName": "userId", "operator": "IN", "values": ids}]});
    json!({"version": 2, "features": features, "segments": [segment]}).to_string()
}

pub fn load(state: &str) -> EngineState {
    let features: ClientFeatures = serde_json::from_str(state).expect("a valid state");
    let engine = EngineState::default();
    assert!(engine.apply_client_features(features).is_none(), "the state was taken with warnings");
    engine
}

fn context(user: Option<String>) -> Context {
    Context {
        user_id: user,
        session_id: None,
        environment: None,
        app_name: None,
        current_time: None,
        remote_address: None,
        properties: None,
    }
}

impl Yggdrasil {
    pub fn new(members: usize) -> Self {
        let ten = (0..10).map(|at| (format!("attribute-{at}"), format!("value-{at}"))).collect();
        Self {
            engine: load(&state(members)),
            members: (0..SUBJECTS).map(|number| context(Some(subject(number, members)))).collect(),
            ten: Context { properties: Some(ten), ..context(None) },
        }
    }
}

impl Engine for Yggdrasil {
    fn name(&self) -> &'static str {
        "unleash-yggdrasil"
    }

    fn ask(&self, question: Question, subject: usize) -> bool {
        let (name, context) = match question {
            Question::Boolean => ("flag-4321", &self.ten),
            Question::Rollout => ("rollout", &self.members[subject]),
            Question::TenClauses => ("ten", &self.ten),
            Question::Cohort => ("cohort", &self.members[subject]),
        };
        self.engine.is_enabled(name, context, &None)
    }
}
