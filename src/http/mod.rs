//! Every path of the service.

pub mod ofrep;
