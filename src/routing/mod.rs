//! Which side is a charge on: groups, their recorded sides, and the questions about them. A side is recorded once for a group and a
//! period, in the application's database, and is then fixed; the view `effective_allocation` reads nothing else.
//!
//! | file | owns |
//! |---|---|
//! | `side` | a side, and a group's id |
//! | `routed` | the deciding parts of an installed change, its stage and open period |
//! | `groups` | users → groups |
//! | `decide` | the flag, evaluated for a group |
//! | `record` | reading and inserting recorded sides |
//! | `assign` | a period's opening: every group at once |
//! | `question` | one user's side, for a server |
//! | `ask` | many questions, line by line |
//! | `at` | who was on which side at a time, and why |
//! | `moves` | moving a group, releasing a change |
//! | `bulk_move` | moving many groups, inheriting a side after a split |
//! | `list` | pages, counts, history |
//! | `explain`, `charge` | why a user, and a charge, is on a side |
//! | `told` | an explanation line by line, as the command line and the console have it |
//! | `preview`, `reach`, `payers` | who would move if a flag were another, how far a cohort reaches |
//! | `overview` | what a server knows of the changes for its metrics |
//! | `stage` | a change's move from stage to stage, with its gates |

mod ask;
mod assign;
mod at;
mod bulk_move;
mod charge;
mod decide;
mod error;
mod explain;
mod groups;
mod list;
mod moves;
mod overview;
mod payers;
mod preview;
mod question;
mod reach;
mod record;
mod routed;
mod side;
mod stage;
mod told;

pub use ask::{AnswerLine, AskError, Asked, Asking, BATCH_LINES, LINE_BYTES_MAX, Whose};
pub use assign::{AssignReceipt, Assigning, WidenedCohort, assign, assign_watched, check_one_group_each};
pub use at::{StoodAt, side_at};
pub use bulk_move::{BULK_GROUPS_MAX, BulkMove, BulkReceipt, SplitOf, inherit, move_groups};
pub use charge::{RoutedCharge, side_of_charge};
pub use error::RoutingError;
pub use explain::{Peek, RoutedExplanation, is_not_installed};
pub use list::{Action, Assignment, Event, SideCounts, count_sides, history, list};
pub use moves::{Move, MoveReceipt, move_group, release};
pub use overview::{ChangeSides, Overview, ReportFindings};
pub use preview::{ChangePreview, Counted, Plan, Preview};
pub use question::{Answer, Because, Question, Router};
pub use reach::reach;
pub use routed::RoutedChange;
pub use side::{GroupId, Side};
pub use stage::{StageError, StageMove, Wish, change_stage, evaluate_gates};
pub use told::{ToldLine, told};
