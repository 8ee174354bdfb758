//! What routing knows of an installed change: the parts of its file that decide, and where it stands right now.

use std::collections::BTreeSet;

use super::error::RoutingError;
use super::groups::GroupLookup;
use super::side::GroupId;
use crate::change::Stage;
use crate::database::{DatabaseConnection, Row};
use crate::flags::Cohort;
use crate::primitives::{ChangeName, Dialect, FlagKey, Instant, Period, PeriodScheme};
use crate::sql::names::own;
use crate::translation::InstalledChange;
use crate::translation::own::{get_change, list_changes};

/// The parts of a change file by which groups are routed.
#[derive(Debug, Clone)]
pub struct RoutedChange {
    pub name: ChangeName,
    pub flag: FlagKey,
    /// How its periods are counted.
    pub periods: PeriodScheme,
    pub(super) group_of_user: String,
    pub(super) charges: String,
    pub(super) group: String,
    /// Both allocations: `charge_id, payer, amount`.
    pub(super) old: String,
    pub(super) new: String,
    /// Tells one installation of a change from the next.
    pub(super) installed_at: i64,
}

/// Where a change stands at the moment of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub stage: Stage,
    /// The first period that is not closed; empty: none is.
    pub open_period: String,
    pub installed_at: i64,
}

impl Standing {
    pub fn is_closed(&self, period: Period) -> bool {
        period.to_string() < self.open_period
    }

    /// Refuses what may only happen to an open period of a change that routes.
    pub fn check_writable(&self, change: &ChangeName, period: Period) -> Result<(), RoutingError> {
        if !self.stage.routes_to_new() {
            return Err(RoutingError::StageBeforeLive { change: change.clone(), stage: self.stage });
        }
        if self.is_closed(period) {
            let open_period = self.open_period.clone();
            return Err(RoutingError::PeriodClosed { change: change.clone(), period, open_period });
        }
        Ok(())
    }

    pub fn read(row: &Row) -> Result<Self, RoutingError> {
        let stage = row.text("stage")?;
        let stage = stage.parse().map_err(|_| RoutingError::Corrupt { column: "stage", found: stage })?;
        Ok(Self { stage, open_period: row.text("open_period")?, installed_at: row.integer("installed_at")? })
    }
}

impl RoutedChange {
    /// Reads an installed change; one without `[allocation]` or `group_of_user` cannot be routed.
    pub fn get(connection: &mut DatabaseConnection, name: &ChangeName) -> Result<Self, RoutingError> {
        Self::of(get_change(connection, name)?)
    }

    /// The one installed change that routes, for a command that names none.
    pub fn get_only(connection: &mut DatabaseConnection) -> Result<Self, RoutingError> {
        let mut routing = list_changes(connection)?.into_iter().filter(|change| change.file.allocation.is_some());
        match (routing.next(), routing.next()) {
            (Some(change), None) => Self::of(change),
            (None, _) => Err(RoutingError::NoneInstalled),
            (Some(one), Some(other)) => Err(RoutingError::SeveralInstalled { one: one.name, other: other.name }),
        }
    }

    /// Refuses a period that the change does not have.
    pub fn check_period(&self, period: Period) -> Result<(), RoutingError> {
        let refused = |source| RoutingError::Period { change: self.name.clone(), source };
        self.periods.check(period).map_err(refused)
    }

    /// The period that contains an instant.
    pub fn period_at(&self, at: Instant) -> Result<Period, RoutingError> {
        let refused = |source| RoutingError::Period { change: self.name.clone(), source };
        self.periods.containing(at).map_err(refused)
    }

    /// The period after the one that contains an instant: where a move counts if nothing else is said.
    pub fn next_period(&self, at: Instant) -> Result<Period, RoutingError> {
        let refused = |source| RoutingError::Period { change: self.name.clone(), source };
        self.periods.next(self.period_at(at)?).map_err(refused)
    }

    /// The group that the application names for a user today.
    pub fn group_of_user(&self, connection: &mut DatabaseConnection, user: &str) -> Result<GroupId, RoutingError> {
        let found = GroupLookup::prepare(connection, self)?.find(connection, user)?;
        found.ok_or_else(|| RoutingError::UnknownUser { change: self.name.clone(), user: user.to_owned() })
    }

    /// All groups that the users of a cohort belong to today.
    pub fn groups_of_cohort(
        &self,
        connection: &mut DatabaseConnection,
        cohort: &Cohort,
    ) -> Result<BTreeSet<GroupId>, RoutingError> {
        let widened = GroupLookup::prepare(connection, self)?.widen(connection, cohort.ids().iter())?;
        Ok(widened.groups.into_iter().collect())
    }

    fn of(change: InstalledChange) -> Result<Self, RoutingError> {
        let (name, file) = (change.name, change.file);
        let allocation = file.allocation.ok_or_else(|| RoutingError::NoAllocation(name.clone()))?;
        let group_of_user = file.routing.group_of_user.ok_or_else(|| RoutingError::NoGroupOfUser(name.clone()))?;
        Ok(Self {
            name,
            flag: file.routing.flag,
            periods: file.routing.period,
            group_of_user: group_of_user.value,
            charges: allocation.charges.value,
            group: allocation.group.value,
            old: allocation.old.value,
            new: allocation.new.value,
            installed_at: change.installed_at.as_micros(),
        })
    }
}

/// How a transaction holds the change's stage and open period still. SQLite has one writer and needs neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// Many at once; a stage move or the closing of a period waits for them.
    Shared,
    /// Alone.
    Exclusive,
}

/// Where the change stands, held still until the transaction ends.
pub(super) fn lock_standing(
    connection: &mut DatabaseConnection,
    name: &ChangeName,
    hold: Hold,
) -> Result<Standing, RoutingError> {
    let dialect = connection.dialect();
    let lock = match (dialect, hold) {
        (Dialect::Postgres, Hold::Shared) => " FOR SHARE",
        (Dialect::Postgres, Hold::Exclusive) => " FOR UPDATE",
        (Dialect::Sqlite, _) => "",
    };
    let table = own(dialect, "change");
    let sql = format!("SELECT stage, open_period, installed_at FROM {table} WHERE name = $1{lock}");
    let row = connection.find_row(&sql, &[name.as_str().into()])?;
    Standing::read(&row.ok_or_else(|| RoutingError::NotInstalled(name.clone()))?)
}
