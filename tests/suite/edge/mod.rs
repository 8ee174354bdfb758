//! What reverse proxies are told of visitors, by a real server on both databases.

mod administration;
mod outage;
mod visitors;
mod world;
