//! Gates of background workers as workers meet them: the pure rules under any history, several servers, real processes that are killed
//! and stopped.

mod hold;
mod properties;
mod servers;
