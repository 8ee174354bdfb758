//! The console: pages for people who adjust changes in a browser. Rendered here, whole without script, with nothing from another host. It
//! does what the API does, by the same functions; it holds no truth of its own but who is signed in.

mod answer;
mod assets;
mod assignment_move;
mod assignments;
mod audit;
mod change;
mod change_charts;
mod change_facts;
mod changes;
mod chart;
mod cohort;
mod cohort_edit;
mod cohort_facts;
mod cohort_history;
mod cohort_staged;
mod cohort_upload;
mod cohorts;
mod form;
mod jobs;
mod live;
mod page;
mod parts;
mod pauses;
mod report;
mod report_explanations;
mod report_files;
mod report_list;
mod report_parts;
mod routes;
mod session;
mod settings;
mod sign_in;
mod stages;
mod tokens;
mod words;
mod worker_gates;
mod works;

pub use routes::configure;
