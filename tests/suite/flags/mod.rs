//! The evaluator as a library: what must hold of any flag and any context, the frozen cases, how an answer is explained, and the
//! reference's examples.

mod arbitrary;
mod corpus;
mod dependent;
mod examples;
mod explained;
mod properties;
mod rollouts;
