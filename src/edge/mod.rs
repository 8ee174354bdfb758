//! Who a visitor is and which copy of the application may serve them: what people set for a change, and how a visitor's id is found and
//! proved. Pure: it reads no file and no clock.
//!
//! | file | owns |
//! |---|---|
//! | `settings` | what people set for a change, checked |
//! | `source` | where a visitor's id stands |
//! | `visitor` | the id of a request's visitor, and whether it is proved |
//! | `keys` | keys by which JSON Web Tokens are verified |
//! | `maintenance` | that everybody is kept out for a while |

mod keys;
mod maintenance;
mod settings;
mod source;
mod visitor;

pub use keys::{Algorithm, BadKey, BadToken, KeyWish, Keys};
pub use maintenance::{InvalidMaintenance, Maintenance};
pub use settings::{Choice, ClaimIs, InvalidSettings, Pass, Settings, UpstreamName, Upstreams};
pub use source::{JwtSource, Place, Source};
pub use visitor::{Request, Visitor, value_at, visitor_of};
