//! The findings of one audit while they are gathered.

use super::{Code, Finding};

#[derive(Default)]
pub(super) struct Found {
    findings: Vec<Finding>,
}

impl Found {
    pub(super) fn add(&mut self, code: Code, object: &str, what: &str, remedy: &str) {
        self.findings.push(Finding {
            code,
            object: object.to_owned(),
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    /// By code and object, each once.
    pub(super) fn in_order(mut self) -> Vec<Finding> {
        self.findings.sort();
        self.findings.dedup();
        self.findings
    }
}

/// `"public"."users"` as people write it: `users`, `billing.users`.
pub(super) fn shown(sql_name: &str) -> String {
    let plain = sql_name.replace("\".\"", ".").trim_matches('"').replace("\"\"", "\"");
    plain.strip_prefix("public.").map(str::to_owned).unwrap_or(plain)
}
